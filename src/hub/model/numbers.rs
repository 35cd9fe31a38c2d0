//! The two ways in which the engines of these tests number the records of a room.

use std::sync::Arc;

use crate::engine::{Engine, Feeds, sparse};

/// How records are numbered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbers {
    /// 1, 2, 3 and so on.
    Dense,
    /// With gaps, small and large: see [`sparse`].
    Sparse,
}

impl Numbers {
    /// Makes an engine with dense numbers number its records in this way.
    pub(super) fn wrap(self, engine: Arc<dyn Engine>, feeds: Feeds) -> (Arc<dyn Engine>, Feeds) {
        match self {
            Self::Dense => (engine, feeds),
            Self::Sparse => sparse::Sparse::wrap(engine, feeds),
        }
    }

    /// The number of the `n`th record of a room; 0 for 0.
    pub(super) fn seq(self, n: u64) -> u64 {
        match self {
            Self::Dense => n,
            Self::Sparse => sparse::seq(n),
        }
    }

    /// How many records have at most this number.
    pub(super) fn count(self, seq: u64) -> u64 {
        match self {
            Self::Dense => seq,
            Self::Sparse => sparse::count(seq),
        }
    }

    /// The number of the first record above this number.
    pub(super) fn next(self, seq: u64) -> u64 {
        self.seq(self.count(seq).saturating_add(1))
    }
}
