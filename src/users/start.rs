//! Loads the users and follows the engine's feed.

use std::sync::Arc;

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};

use super::{Users, handle::Shared, model::Model, password::Hasher, watched_model::WatchedModel};
use crate::{
    config,
    engine::{self, Error as EngineError, UserChanges},
    metrics::Metrics,
};

/// Users that are loaded by one call of the engine.
const LOAD_PAGE: usize = 10_000;

/// Loads all users and starts the task that follows the feed. The task ends with the feed, which ends when the engine has closed.
pub async fn start(
    settings: config::Users,
    engine: Arc<dyn engine::Users>,
    mut feed: mpsc::Receiver<UserChanges>,
    metrics: Arc<Metrics>,
) -> Result<(Users, JoinHandle<()>), EngineError> {
    let model = Arc::new(Model::default());
    let mut last = None;
    loop {
        let page = engine.load_users(last, LOAD_PAGE).await?;
        let Some(user) = page.last() else { break };
        last = Some(user.id);
        page.into_iter().for_each(|user| model.put(&Arc::new(user)));
    }

    let (version, applied) = watch::channel(0);
    let watched = Arc::new(WatchedModel::new(Arc::clone(&model), settings.max_watchers, settings.max_waiting_changes));
    let following = Arc::clone(&watched);
    let follower = tokio::spawn(async move {
        while let Some(group) = feed.recv().await {
            following.apply(group.changes);
            version.send_replace(group.version);
        }
    });
    let hasher = Hasher::new(&settings, metrics);
    let batches = Arc::new(Semaphore::new(settings.max_bulk_calls.min(Semaphore::MAX_PERMITS)));
    Ok((Users(Arc::new(Shared { engine, model, watched, applied, hasher, batches, settings })), follower))
}
