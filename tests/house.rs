//! The structure of the code: imports run one way, files do not depend on each other in circles, and files and functions stay short.
//!
//! ARCHITECTURE.md explains the plan that these tests enforce.

mod arrows;
mod circles;
mod paths;
mod sizes;
mod source;
mod workspace;
