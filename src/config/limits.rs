//! The section `[limits]`.

use super::section::{KIB, MAX_COUNT, MAX_SECONDS, MIB, section};

section! {
    /// Requests, streams and messages.
    pub struct Limits in "limits" {
        /// Requests and streams open at once, of all methods and connections. A Chat stream takes about 4 KiB.
        pub max_streams: usize = 200_000, 1..=MAX_COUNT;
        /// Long-lived streams (Chat, Subscribe, watches) open at once of one authenticated caller.
        pub max_streams_per_caller: usize = 256, 1..=MAX_COUNT;
        /// Time in seconds that a client may leave data of its stream unread; then the stream is reset. A client has to read a batch of up
        /// to 64 KiB in this time.
        pub slow_reader_seconds: u64 = 300, 1..=MAX_SECONDS;
        /// Size in bytes of a message's text.
        pub max_text_bytes: usize = 4 * KIB, 1..=MAX_COUNT;
        /// Size in bytes of an encoded chat message. At least `max_text_bytes`.
        pub max_chat_frame_bytes: usize = 64 * KIB, 1..=MAX_COUNT;
        /// Size in bytes of any other encoded request.
        pub max_frame_bytes: usize = 256 * KIB, 1..=MAX_COUNT;
        /// Size in bytes of a reply. Keep it below 4 MiB, which gRPC clients accept by default.
        pub max_reply_bytes: usize = 3 * MIB, 1..=MAX_COUNT;
        /// Bytes that may be buffered for incomplete messages above 8 KiB, over all streams. At this limit such messages are rejected.
        pub max_incomplete_bytes: usize = 64 * MIB, 1..=1 << 31;
        /// Messages of one stream that may be on their way to the log. At this limit the server stops reading the stream until some are
        /// committed.
        pub max_inflight_per_stream: usize = 512, 1..=1 << 20;
        /// Bytes of these messages. At this limit the server stops reading the stream too; a single message may be larger.
        pub max_inflight_bytes_per_stream: usize = 256 * KIB, 1..=1 << 30;
    }
}
