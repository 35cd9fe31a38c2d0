//! The routes: every service on the main port.

use tonic::service::Routes;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};
use tonic_reflection::server::{v1, v1alpha};

use super::Error;
use crate::{auth, config::Config, proto, rpc, users};

/// Builds the router of all services, and the reporter of their health.
pub(super) async fn routes(
    config: &Config,
    chat: rpc::ChatParts,
    users: users::Users,
    sessions: Option<auth::Sessions>,
) -> Result<(HealthReporter, axum::Router), Error> {
    let settings = &config.limits;
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in rpc::health_services() {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reflection_v1, reflection_v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let most = rpc::SMALL_FRAME.min(settings.max_frame_bytes);
    let routes = Routes::new(rpc::users(users, &chat, settings))
        .add_service(rpc::auth(sessions, &chat, settings))
        .add_service(rpc::rooms(&chat, settings))
        .add_service(
            rpc::with_encodings(health_service, HealthServer::accept_compressed).max_decoding_message_size(most),
        )
        .add_service(
            rpc::with_encodings(reflection_v1, v1::ServerReflectionServer::accept_compressed)
                .max_decoding_message_size(most),
        )
        .add_service(
            rpc::with_encodings(reflection_v1alpha, v1alpha::ServerReflectionServer::accept_compressed)
                .max_decoding_message_size(most),
        )
        .into_axum_router()
        // The router prefers the longer path: these go to their own services, every other method to the generated ones.
        .route_service(rpc::CHAT, rpc::chat(chat.clone(), settings))
        .route_service(rpc::SUBSCRIBE, rpc::subscribe(chat, settings));
    Ok((health, routes))
}
