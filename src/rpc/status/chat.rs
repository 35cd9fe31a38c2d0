//! Failures of Chat, Subscribe, and the methods of ChatService.

use tonic::Code;

use super::Failure;
use crate::rpc::stream_limit::StreamLimitError;

impl From<StreamLimitError> for Failure {
    fn from(error: StreamLimitError) -> Self {
        let reason = match error {
            StreamLimitError::Server { .. } => "TOO_MANY_STREAMS",
            StreamLimitError::Caller { .. } => "TOO_MANY_STREAMS_OF_CALLER",
        };
        Self::new(Code::ResourceExhausted, reason, error.to_string()).retry_after(10)
    }
}
