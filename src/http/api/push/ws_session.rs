//! What goes to and fro over one socket, one thing at a time.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderValue;
use hyper::upgrade::Upgraded;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::message::{self, PushMode};
use super::subscription::{Subscription, SubscriptionParams};
use super::ws_wire::{ClientMessage, Disconnected, WsWire};
use crate::http::access::Principal;
use crate::http::api::state::AppState;
use crate::http::response::problem::Problem;

/// So many messages in a row that mean nothing end the connection (close code 1008).
const MISTAKES_MAX: u32 = 10;

/// After the store is closed a client that takes nothing is not waited for any longer than this.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Holds the conversation until the client leaves, the store is closed, or something forbids to
/// go on.
pub(crate) async fn hold(
    api: AppState,
    caller: Principal,
    upgraded: Upgraded,
    request_id: &HeaderValue,
) {
    let store = api.store().clone();
    let too_long = async {
        store.closed().await;
        tokio::time::sleep(LEAVE_MAX).await;
    };
    let options = api.push().options().clone();
    let mut wire = WsWire::new(upgraded, options.write_max).await;
    let request_id = request_id.to_str().unwrap_or_default().to_owned();
    let mut conversation = WsSession { api, caller, request_id, subscribed: None, mistakes: 0 };
    let held = async {
        if let CloseReason::Because(code, reason) =
            conversation.go_on(&mut wire, options.heartbeat).await
        {
            wire.close(code, reason).await;
        }
    };
    tokio::select! {
        () = held => {}
        () = too_long => {}
    }
}

/// One client's side of it.
struct WsSession {
    api: AppState,
    caller: Principal,
    request_id: String,
    subscribed: Option<(PushMode, Subscription)>,
    /// Messages without meaning since the last that had one.
    mistakes: u32,
}

/// Why it is over.
enum CloseReason {
    /// Nobody is there to be told.
    Lost,
    /// The client is told why.
    Because(CloseCode, &'static str),
}

impl From<Disconnected> for CloseReason {
    fn from(_: Disconnected) -> Self {
        Self::Lost
    }
}

/// What happens next.
enum NextStep {
    Said(ClientMessage),
    News(Result<Option<Bytes>, Problem>),
    /// The client's token is not valid any more.
    Over,
    Tick,
}

impl WsSession {
    async fn go_on(&mut self, wire: &mut WsWire, heartbeat: Duration) -> CloseReason {
        let mut ticks = ticks(heartbeat);
        let mut alive = true;
        loop {
            let next = self.next(wire, &mut ticks).await;
            let done = match next {
                NextStep::Said(ClientMessage::Gone) => return CloseReason::Lost,
                NextStep::Said(ClientMessage::Wrong(code, reason)) => {
                    return CloseReason::Because(code, reason);
                }
                NextStep::Said(said) => {
                    alive = true;
                    self.take(said, wire).await
                }
                NextStep::News(news) => self.tell(news, wire).await,
                NextStep::Over => {
                    let reason = "the token is not valid any more";
                    return CloseReason::Because(CloseCode::Policy, reason);
                }
                // A ping was sent one tick ago, and nothing came back.
                NextStep::Tick if !alive => return CloseReason::Lost,
                NextStep::Tick => {
                    alive = false;
                    wire.ping().await.map_err(CloseReason::from)
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn next(&mut self, wire: &mut WsWire, ticks: &mut Interval) -> NextStep {
        let store = self.api.store().clone();
        let caller = self.caller.clone();
        let news = async {
            if let Some((mode, subscription)) = &mut self.subscribed {
                return next_message(*mode, subscription).await;
            }
            store.closed().await;
            Ok(None)
        };
        tokio::select! {
            () = caller.ended() => NextStep::Over,
            said = wire.hear() => NextStep::Said(said),
            news = news => NextStep::News(news),
            _ = ticks.tick() => NextStep::Tick,
        }
    }

    /// Does what the client asks.
    async fn take(&mut self, said: ClientMessage, wire: &mut WsWire) -> Result<(), CloseReason> {
        let ClientMessage::Text(text) = said else { return Ok(()) };
        let subscribed =
            message::read(&text).and_then(|(mode, wanted)| Ok((mode, self.subscription(wanted)?)));
        match subscribed {
            Ok(subscribed) => {
                self.mistakes = 0;
                self.subscribed = Some(subscribed);
                Ok(())
            }
            Err(problem) => {
                wire.tell(message::problem(&problem, &self.request_id)).await?;
                self.mistakes += 1;
                if self.mistakes < MISTAKES_MAX {
                    return Ok(());
                }
                Err(CloseReason::Because(
                    CloseCode::Policy,
                    "ten messages in a row were not understood",
                ))
            }
        }
    }

    fn subscription(&self, wanted: SubscriptionParams) -> Result<Subscription, Problem> {
        Subscription::new(self.api.clone(), self.caller.clone(), wanted)
    }

    async fn tell(
        &mut self,
        news: Result<Option<Bytes>, Problem>,
        wire: &mut WsWire,
    ) -> Result<(), CloseReason> {
        match news {
            Ok(Some(text)) => Ok(wire.tell(text).await?),
            Ok(None) => Err(CloseReason::Because(CloseCode::Away, "the service ends; come back")),
            Err(problem) => {
                // Most likely a table is gone. The client may subscribe to others.
                self.subscribed = None;
                Ok(wire.tell(message::problem(&problem, &self.request_id)).await?)
            }
        }
    }
}

/// The next message of a subscription; `None` once the store is closed.
async fn next_message(
    mode: PushMode,
    subscription: &mut Subscription,
) -> Result<Option<Bytes>, Problem> {
    Ok(match mode {
        PushMode::Changes => subscription.answer().await?.map(|told| told.json()),
        PushMode::Version => subscription.version().await?.map(message::version),
    })
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
