//! The house: its arrows run one way.
