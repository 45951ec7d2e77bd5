//! Compression of answers that one client alone is given; of those that many are given, [`Told`]
//! keeps a compressed form.
//!
//! A compressor's body is six kilobytes large, whether it compresses or not. So who does not ask for
//! compression, and every stream, is answered with the body as it is.
//!
//! [`Told`]: super::told::Told

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::future::{Either, FutureExt, Map};
use tower::{Layer, Service};
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::compression::{Compression, CompressionBody, CompressionLayer};

use crate::http::response::encoded_response::COMPRESSED_BYTES_MIN;
use crate::http::response::encoding::Encoding;

/// What is worth compressing.
type CompressPredicate = SizeAbove;

/// The layer around one route.
#[derive(Clone)]
pub(crate) struct Compress {
    /// A compressor would hold events back until it has enough of them.
    pub(crate) is_stream: bool,
}

impl<S> Layer<S> for Compress {
    type Service = CompressService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let compressing = CompressionLayer::new().compress_when(worth()).layer(inner);
        CompressService { compressing, is_stream: self.is_stream }
    }
}

fn worth() -> CompressPredicate {
    SizeAbove::new(COMPRESSED_BYTES_MIN)
}

/// The service that [`Compress`] makes.
#[derive(Clone)]
pub(crate) struct CompressService<S> {
    compressing: Compression<S, CompressPredicate>,
    is_stream: bool,
}

type Answered<B> = Result<Response<B>, Infallible>;
type Out<B> = fn(Answered<B>) -> Answered<Body>;

impl<S> Service<Request> for CompressService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Map<S::Future, Out<Body>>,
        Map<
            <Compression<S, CompressPredicate> as Service<Request>>::Future,
            Out<CompressionBody<Body>>,
        >,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.compressing.get_mut().poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let out: Out<Body> = match Encoding::preferred(request.headers()) {
            _ if self.is_stream => |answered| answered,
            None => |answered| answered.map(as_it_is),
            Some(_) => {
                let out: Out<CompressionBody<Body>> =
                    |answered| answered.map(|response| response.map(Body::new));
                return Either::Right(self.compressing.call(request).map(out));
            }
        };
        Either::Left(self.compressing.get_mut().call(request).map(out))
    }
}

/// Whoever stores answers must know that this one would be another to who wants it compressed.
fn as_it_is(mut response: Response) -> Response {
    let headers = response.headers();
    let is_told = || {
        let mut lines = headers.get_all(header::VARY).iter();
        lines.any(|line| line.as_bytes().eq_ignore_ascii_case(b"accept-encoding"))
    };
    if !headers.contains_key(header::CONTENT_ENCODING)
        && worth().should_compress(&response)
        && !is_told()
    {
        let vary = HeaderValue::from_static("accept-encoding");
        response.headers_mut().append(header::VARY, vary);
    }
    response
}
