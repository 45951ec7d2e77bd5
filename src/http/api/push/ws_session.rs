//! One WebSocket: messages in both directions, one at a time.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderValue;
use hyper::upgrade::Upgraded;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::message::{self, PushMode};
use super::subscription::Subscription;
use super::ws_wire::{ClientMessage, Disconnected, WsWire};
use crate::http::access::Principal;
use crate::http::api::state::AppState;
use crate::http::params::ChangesRequest;
use crate::http::response::problem::Problem;

/// This many invalid messages in a row end the connection (close code 1008).
const INVALID_MESSAGES_MAX: u32 = 10;

/// Time for a client to accept the close frame after the store is closed.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Runs the session until the client leaves, the store is closed, or the client violates a rule.
pub(crate) async fn run(
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
    let mut session = WsSession { api, caller, request_id, subscribed: None, invalid_messages: 0 };
    let running = async {
        if let CloseReason::Because(code, reason) =
            session.exchange(&mut wire, options.heartbeat).await
        {
            wire.close(code, reason).await;
        }
    };
    tokio::select! {
        () = running => {}
        () = too_long => {}
    }
}

/// The state of one client's session.
struct WsSession {
    api: AppState,
    caller: Principal,
    request_id: String,
    subscribed: Option<(PushMode, Subscription)>,
    /// Invalid messages since the last valid one.
    invalid_messages: u32,
}

/// Why a session ends.
enum CloseReason {
    /// The connection is gone: no close frame can be sent.
    Lost,
    /// A close frame carries the code and reason.
    Because(CloseCode, &'static str),
}

impl From<Disconnected> for CloseReason {
    fn from(_: Disconnected) -> Self {
        Self::Lost
    }
}

/// The next event of a session.
enum SessionEvent {
    Received(ClientMessage),
    News(Result<Option<Bytes>, Problem>),
    /// The client's token is no longer valid.
    TokenExpired,
    Tick,
}

impl WsSession {
    async fn exchange(&mut self, wire: &mut WsWire, heartbeat: Duration) -> CloseReason {
        let mut ticks = ticks(heartbeat);
        let mut alive = true;
        loop {
            let next = self.next(wire, &mut ticks).await;
            let done = match next {
                SessionEvent::Received(ClientMessage::Gone) => return CloseReason::Lost,
                SessionEvent::Received(ClientMessage::Wrong(code, reason)) => {
                    return CloseReason::Because(code, reason);
                }
                SessionEvent::Received(message) => {
                    alive = true;
                    self.receive(message, wire).await
                }
                SessionEvent::News(news) => self.send(news, wire).await,
                SessionEvent::TokenExpired => {
                    let reason = "the token has expired";
                    return CloseReason::Because(CloseCode::Policy, reason);
                }
                // Nothing was received since the ping of the previous tick.
                SessionEvent::Tick if !alive => return CloseReason::Lost,
                SessionEvent::Tick => {
                    alive = false;
                    wire.ping().await.map_err(CloseReason::from)
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn next(&mut self, wire: &mut WsWire, ticks: &mut Interval) -> SessionEvent {
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
            () = caller.expired() => SessionEvent::TokenExpired,
            message = wire.receive() => SessionEvent::Received(message),
            news = news => SessionEvent::News(news),
            _ = ticks.tick() => SessionEvent::Tick,
        }
    }

    /// Handles a client's message.
    async fn receive(
        &mut self,
        message: ClientMessage,
        wire: &mut WsWire,
    ) -> Result<(), CloseReason> {
        let ClientMessage::Text(text) = message else { return Ok(()) };
        let subscribed = message::read(&text)
            .and_then(|(mode, request)| Ok((mode, self.subscription(request)?)));
        match subscribed {
            Ok(subscribed) => {
                self.invalid_messages = 0;
                self.subscribed = Some(subscribed);
                Ok(())
            }
            Err(problem) => {
                wire.send(message::problem(&problem, &self.request_id)).await?;
                self.invalid_messages += 1;
                if self.invalid_messages < INVALID_MESSAGES_MAX {
                    return Ok(());
                }
                Err(CloseReason::Because(CloseCode::Policy, "ten invalid messages in a row"))
            }
        }
    }

    fn subscription(&self, request: ChangesRequest) -> Result<Subscription, Problem> {
        Subscription::new(self.api.clone(), self.caller.clone(), request)
    }

    async fn send(
        &mut self,
        news: Result<Option<Bytes>, Problem>,
        wire: &mut WsWire,
    ) -> Result<(), CloseReason> {
        match news {
            Ok(Some(text)) => Ok(wire.send(text).await?),
            Ok(None) => Err(CloseReason::Because(CloseCode::Away, "shutting down; reconnect")),
            Err(problem) => {
                // Most likely a table is no longer published. The client may subscribe to others.
                self.subscribed = None;
                Ok(wire.send(message::problem(&problem, &self.request_id)).await?)
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
        PushMode::Changes => subscription.next().await?.map(|response| response.json()),
        PushMode::Version => subscription.next_version().await?.map(message::version),
    })
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
