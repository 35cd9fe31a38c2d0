//! Why a request is ended from outside its handler.

/// Why a request must end before its handler ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The client has not read the response for too long.
    SlowReader,
    /// The deadline that the client gave with the call (`grpc-timeout`) has passed.
    DeadlineExceeded,
    /// The token that the request depends on has expired.
    TokenExpired,
    /// The user of the token has been deleted.
    UserDeleted,
    /// The caller was an admin when the request began and is no longer one.
    RightsLost,
}
