//! Compression of responses to a single client. Responses shared by many clients are compressed once, by
//! [`EncodedResponse`].
//!
//! tower-http's compressing body takes 6 kB, whether it compresses or not. So it is used only for
//! clients that accept compression, and never for streams.
//!
//! [`EncodedResponse`]: crate::http::response::encoded_response::EncodedResponse

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

type CompressPredicate = SizeAbove;

/// The layer around one route.
#[derive(Clone)]
pub(crate) struct Compress {
    /// Streams are not compressed: a compressor delays events until it has a block of them.
    pub(crate) is_stream: bool,
}

impl<S> Layer<S> for Compress {
    type Service = CompressService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let compressing = CompressionLayer::new().compress_when(predicate()).layer(inner);
        CompressService { compressing, is_stream: self.is_stream }
    }
}

fn predicate() -> CompressPredicate {
    SizeAbove::new(COMPRESSED_BYTES_MIN)
}

/// The service that [`Compress`] makes.
#[derive(Clone)]
pub(crate) struct CompressService<S> {
    compressing: Compression<S, CompressPredicate>,
    is_stream: bool,
}

type ServiceResult<B> = Result<Response<B>, Infallible>;
type Complete<B> = fn(ServiceResult<B>) -> ServiceResult<Body>;

impl<S> Service<Request> for CompressService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Map<S::Future, Complete<Body>>,
        Map<
            <Compression<S, CompressPredicate> as Service<Request>>::Future,
            Complete<CompressionBody<Body>>,
        >,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.compressing.get_mut().poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let complete: Complete<Body> = match Encoding::preferred(request.headers()) {
            _ if self.is_stream => |response| response,
            None => |response| response.map(uncompressed),
            Some(_) => {
                let complete: Complete<CompressionBody<Body>> =
                    |response| response.map(|response| response.map(Body::new));
                return Either::Right(self.compressing.call(request).map(complete));
            }
        };
        Either::Left(self.compressing.get_mut().call(request).map(complete))
    }
}

/// Marks a response that would be compressed for another client: caches must keep the two apart.
fn uncompressed(mut response: Response) -> Response {
    let headers = response.headers();
    let has_vary = || {
        let mut lines = headers.get_all(header::VARY).iter();
        lines.any(|line| line.as_bytes().eq_ignore_ascii_case(b"accept-encoding"))
    };
    if !headers.contains_key(header::CONTENT_ENCODING)
        && predicate().should_compress(&response)
        && !has_vary()
    {
        let vary = HeaderValue::from_static("accept-encoding");
        response.headers_mut().append(header::VARY, vary);
    }
    response
}
