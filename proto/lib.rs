//! The Trellis contract: the messages, clients and servers of `trellis.v1`.
//!
//! The `.proto` files beside this one are the reference manual; their comments are repeated here by
//! the generator. Nothing in this crate decides anything.

pub mod codec;

/// Messages, clients and servers of package `trellis.v1`.
#[allow(
    clippy::pedantic,
    clippy::large_enum_variant,
    missing_docs,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("trellis.v1");

    impl ErrorReason {
        /// The reason as `google.rpc.ErrorInfo.reason` carries it: the name without its prefix.
        #[must_use]
        pub fn as_reason(self) -> &'static str {
            self.as_str_name().trim_start_matches("ERROR_REASON_")
        }

        /// The reason of that name, when this version knows it.
        #[must_use]
        pub fn from_reason(reason: &str) -> Option<Self> {
            Self::from_str_name(&format!("ERROR_REASON_{reason}"))
        }
    }
}

/// The `domain` of every `google.rpc.ErrorInfo` that Trellis sends.
pub const ERROR_DOMAIN: &str = "trellis";

/// The namespace meant by an empty `namespace` field.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The largest message a daemon sends, in bytes: stock gRPC clients refuse more than 4 MiB.
pub const MAX_MESSAGE_BYTES: usize = 3_500 * 1024;

/// The compiled descriptors of the contract, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
