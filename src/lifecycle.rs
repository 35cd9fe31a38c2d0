//! The life of a request, seen from outside its handler: how it is asked to end, and how it is aborted if it does not.
//!
//! `net` makes one [`RequestHandle`] for every request and passes it in the request's extensions, for HTTP/1 and HTTP/2 alike. `net`
//! reports to it how the response body is read, `auth` attaches the token that the request depends on, `rpc` ends the response when the
//! handle has an [`EndReason`]. [`Requests`] holds the handles of a server and scans them for those that must end.
//!
//! A response body whose client does not read is not polled, so it cannot end itself. The scan finds such requests and aborts their task,
//! which resets the stream (HTTP/2) or closes the connection (HTTP/1).

mod end_reason;
mod pass;
mod reaper;
mod registry;
mod request;
mod requests;
mod task;

pub use end_reason::EndReason;
pub use pass::Pass;
pub use registry::{Entry, Registration, Registry};
pub use request::RequestHandle;
pub use requests::Requests;
pub use task::{Abort, AbortSlot, TaskGroup, TaskHandle};
