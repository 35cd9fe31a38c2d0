//! Every field of every RPC, given badly: a precise status with details, and nothing changes.
