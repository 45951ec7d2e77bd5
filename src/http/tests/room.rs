//! The budget of unread responses.

use super::*;
use crate::change::Op::Insert;

const BUDGET: usize = 200 << 10;

#[tokio::test]
async fn unread_responses_leave_budget_for_small_ones_only() {
    let options = HttpOptions { max_buffered_response_bytes: BUDGET, ..HttpOptions::default() };
    let mut service = TestService::with_options(&options);
    let changes: Vec<_> = (0..2000).map(|id| (ITEMS, id, Insert)).collect();
    service.commit(808, &changes);
    service.commit(816, &[(USERS, 1, Insert)]);
    let path = format!("/v1/changes?tables=items&limit=2000&after={}", version(START));
    let request = Request::get(path.as_str()).body(Body::empty()).unwrap();
    let unread = service.client.router.clone().oneshot(request).await.unwrap();
    assert_eq!(unread.status(), StatusCode::OK);
    assert_eq!(service.get(&path).await.status, StatusCode::OK, "the same bytes for other clients");

    let other = format!("{path}&detail=true");
    let refused = service.get(&other).await;
    assert!(refused.problem(503).contains("http.max_buffered_response_bytes"), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "2");
    let small = format!("/v1/changes?after={}", version(808));
    assert_eq!(service.get(&small).await.changes(), "users 1 insert");

    drop(unread);
    assert_eq!(service.get(&other).await.status, StatusCode::OK);
    assert_eq!(service.get(&path).await.status, StatusCode::OK, "cached responses are evicted");
}
