//! The health status of the server and of its services.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{engine::Engine, rpc};

/// Reports `NOT_SERVING` once the log takes no more writes, so that load balancers go elsewhere. Runs until the drain.
pub(super) async fn follow_log(engine: Arc<dyn Engine>, health: HealthReporter, drain: CancellationToken) {
    drain.run_until_cancelled(engine.stopped()).await;
    set_not_serving(&health).await;
    drain.cancelled().await;
}

pub(super) async fn set_not_serving(health: &HealthReporter) {
    for service in rpc::health_services() {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

/// Ends the health watches, after their last status.
pub(super) async fn end_watches(health: &mut HealthReporter) {
    for service in rpc::health_services() {
        health.clear_service_status(service).await;
    }
}
