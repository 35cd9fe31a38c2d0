//! Ends calls that something outside their handler ends: an expired token, a deleted user, a slow reader, the client's deadline.
//!
//! The outermost layer of the service. Before the response is there, it answers with the status of the [`EndReason`]; after that, it ends the
//! body between two messages with the trailers of that status. The transport knows nothing of it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower::{Layer, Service};

use super::{
    deadline::Deadline,
    handle, methods,
    status::{Failure, why},
};
use crate::lifecycle::{EndReason, RequestHandle};

/// Makes [`EndingService`]s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndingLayer;

impl<S> Layer<S> for EndingLayer {
    type Service = EndingService<S>;

    fn layer(&self, service: S) -> EndingService<S> {
        EndingService { service }
    }
}

/// Ends the calls of a service when their [`RequestHandle`] has a reason, or when the deadline that the client gave passes.
#[derive(Debug, Clone)]
pub(crate) struct EndingService<S> {
    service: S,
}

impl<S, R, B> Service<Request<R>> for EndingService<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<EndingBody<B>>;
    type Error = S::Error;
    type Future = EndingResponse<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let handle = handle(request.extensions());
        let deadline = Deadline::of(request.headers());
        if let Some(instant) = deadline.instant() {
            handle.set_deadline(instant);
        }
        let is_streamed = methods::find(request.uri().path()).is_some_and(|method| method.streaming.of_responses());
        let end = End { request: handle, deadline };
        EndingResponse { response: self.service.call(request), end: Some(end), is_streamed }
    }
}

/// What can end a call.
#[derive(Debug)]
struct End {
    request: RequestHandle,
    deadline: Deadline,
}

impl End {
    /// Wakes the task when there may be a reason. To be called before what it ends is polled, which may use the same waker.
    fn register(&self, cx: &Context<'_>) {
        self.request.register(cx.waker());
    }

    /// Why the call must end now.
    fn poll_reason(&mut self, cx: &mut Context<'_>) -> Option<EndReason> {
        if self.deadline.poll_passed(cx).is_ready() {
            self.request.end(EndReason::DeadlineExceeded);
        }
        self.request.end_reason()
    }
}

pin_project! {
    /// The response, or the status with which the call ends before there is one.
    #[derive(Debug)]
    pub(crate) struct EndingResponse<F> {
        #[pin]
        response: F,
        // `None` when it is ready.
        end: Option<End>,
        is_streamed: bool,
    }
}

impl<F, B, E> Future for EndingResponse<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<EndingBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(end) = this.end else { return Poll::Pending };
        end.register(cx);
        // A response that is ready is delivered, even if a reason to end came first.
        let (response, is_streamed) = match this.response.poll(cx) {
            Poll::Ready(response) => (response?, *this.is_streamed),
            Poll::Pending => match end.poll_reason(cx) {
                Some(reason) => (Status::from(Failure::from(reason)).into_http(), false),
                None => return Poll::Pending,
            },
        };
        let Some(mut end) = this.end.take() else { return Poll::Pending };
        if !is_streamed {
            end.request.mark_answered();
            end.deadline = Deadline::default();
        }
        Poll::Ready(Ok(response.map(|body| EndingBody { body, end, has_ended: false })))
    }
}

/// A response body that ends between two messages when its call must end.
#[derive(Debug)]
pub(crate) struct EndingBody<B> {
    body: B,
    end: End,
    /// It was ended here, not by the body.
    has_ended: bool,
}

impl<B: Body + Unpin> Body for EndingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.end.register(cx);
        // Every frame of the body has whole messages, so this is between two of them.
        if let Some(reason) = self.end.poll_reason(cx) {
            self.has_ended = true;
            return Poll::Ready(Some(Ok(Frame::trailers(why(reason)))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_ended { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{pending, poll_fn, ready},
    };

    use bytes::Bytes;
    use futures_util::FutureExt;
    use tonic::Code;
    use tower::service_fn;

    use super::*;

    /// A body that never yields anything, or is empty.
    #[derive(Debug, Default)]
    struct Silent {
        lasts: bool,
    }

    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.lasts { Poll::Pending } else { Poll::Ready(None) }
        }
    }

    const CHAT: &str = "/user.UserService/Chat";
    const GET_USER: &str = "/user.UserService/GetUser";

    /// Calls a method that answers with `response`.
    fn call<F>(path: &str, timeout: Option<&str>, response: F) -> (RequestHandle, EndingResponse<F>)
    where
        F: Future<Output = Result<Response<Silent>, Infallible>>,
    {
        let handle = RequestHandle::default();
        let mut request = Request::post(path).extension(handle.clone());
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let mut response = Some(response);
        let mut service = EndingLayer.layer(service_fn(move |_| response.take().unwrap()));
        (handle, service.call(request.body(()).unwrap()))
    }

    fn lasting() -> std::future::Ready<Result<Response<Silent>, Infallible>> {
        ready(Ok(Response::new(Silent { lasts: true })))
    }

    async fn frame(body: &mut EndingBody<Silent>) -> Option<Frame<Bytes>> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_call_that_is_ended_before_its_response_gets_the_status_of_the_reason() {
        let (handle, response) = call(CHAT, None, pending());
        let (response, ()) = tokio::join!(response, async { handle.end(EndReason::TokenExpired) });
        let status = Status::from_header_map(response.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    #[tokio::test]
    async fn a_response_that_is_ready_is_delivered_although_its_call_was_ended() {
        for (path, is_ended) in [(GET_USER, false), (CHAT, true)] {
            let (handle, response) = call(path, None, ready(Ok(Response::new(Silent::default()))));
            handle.end(EndReason::UserDeleted);
            let mut response = response.await.unwrap();
            assert!(Status::from_header_map(response.headers()).is_none());
            let trailers = frame(response.body_mut()).await;
            assert_eq!(trailers.is_some(), is_ended, "{path}");
        }
    }

    #[tokio::test]
    async fn a_running_stream_is_ended_by_trailers_and_then_over() {
        let (handle, response) = call(CHAT, None, lasting());
        let mut body = response.await.unwrap().into_body();
        assert!(frame(&mut body).now_or_never().is_none());
        let (trailers, ()) = tokio::join!(frame(&mut body), async { handle.end(EndReason::UserDeleted) });
        let trailers = trailers.unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Unauthenticated);
        assert!(body.is_end_stream());
        assert!(frame(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn a_deadline_ends_a_call_before_its_response_and_a_stream_behind_it() {
        let (_, unanswered) = call(GET_USER, Some("5m"), pending());
        let status = Status::from_header_map(unanswered.await.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);

        let (_, running) = call(CHAT, Some("5m"), lasting());
        let mut body = running.await.unwrap().into_body();
        let trailers = frame(&mut body).await.unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::DeadlineExceeded);
    }
}
