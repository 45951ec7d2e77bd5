//! SCRAM-SHA-256, bound to the TLS channel where possible (RFC 5802, 7677; manual: "SASL
//! Authentication").

use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::{AuthRequest, LoginExchange};
use crate::wire::conn_options::ChannelBinding;
use crate::wire::error::ConnectErrorKind;
use crate::wire::tls::server_end_point;

impl LoginExchange<'_> {
    /// Proves knowledge of the password to the server, and verifies the server's own proof.
    pub(super) async fn scram(&mut self, mechanisms: &[String]) -> Result<(), ConnectErrorKind> {
        let (mechanism, binding) = self.choose_mechanism(mechanisms)?;
        let mut scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        self.send(|out| frontend::sasl_initial_response(mechanism, scram.message(), out)).await?;

        let challenge = match self.next_request().await? {
            AuthRequest::SaslContinue(challenge) => challenge,
            other => return Err(other.as_error()),
        };
        scram.update(&challenge).map_err(scram_failed)?;
        self.send(|out| frontend::sasl_response(scram.message(), out)).await?;

        // The server's own proof must come before its OK: a server that omits it doesn't know the password.
        let proof = match self.next_request().await? {
            AuthRequest::SaslFinal(proof) => proof,
            other => return Err(other.as_error()),
        };
        scram.finish(&proof).map_err(scram_failed)?;
        self.expect_ok().await
    }

    fn choose_mechanism(
        &self,
        offered: &[String],
    ) -> Result<(&'static str, Binding), ConnectErrorKind> {
        let offers = |mechanism: &str| offered.iter().any(|name| name == mechanism);
        let requested = self.target.tls.channel_binding;
        let certificate = self.channel.transport.server_certificate();
        let end_point = certificate.and_then(server_end_point);
        let end_point = end_point.filter(|_| requested != ChannelBinding::Disable);
        match end_point {
            Some(end_point) if offers(SCRAM_SHA_256_PLUS) => {
                Ok((SCRAM_SHA_256_PLUS, Binding::tls_server_end_point(end_point)))
            }
            _ if requested == ChannelBinding::Require => Err(ConnectErrorKind::ChannelBinding(
                unbound_reason(certificate.is_some(), end_point.is_some()),
            )),
            // Announces that the client supports binding, so that a server whose offer of it was removed in
            // transit notices.
            Some(_) if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, Binding::unrequested())),
            None if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, Binding::unsupported())),
            _ => Err(ConnectErrorKind::UnsupportedAuthentication { method: offered.join(", ") }),
        }
    }
}

fn unbound_reason(encrypted: bool, has_end_point: bool) -> &'static str {
    match (encrypted, has_end_point) {
        (false, _) => "the connection has no TLS",
        (true, false) => "the server's certificate is signed in a way that defines no binding",
        (true, true) => "the server does not offer SCRAM-SHA-256-PLUS",
    }
}

#[allow(clippy::needless_pass_by_value)]
fn scram_failed(error: std::io::Error) -> ConnectErrorKind {
    ConnectErrorKind::Scram(error.to_string())
}
