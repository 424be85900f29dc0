//! Watch over directories that change by themselves. People who lost an entitlement do not keep
//! what they have.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Pump;

/// Interval between two looks whether a directory changed. The directory itself decides how old its
/// answers may be.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Pump {
    /// Looks at the directories until stopped.
    pub(super) async fn keep_directories(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.watch_directories() => {}
            }
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.core.tasks.pause(LOOK_EVERY) => {}
            }
        }
    }

    /// Looks at the directories once. Nobody's directory waits for another tenant's.
    pub(super) async fn watch_directories(&self) {
        let tenants = self.core.tenants().into_iter().filter(|(_, settings)| settings.directory_changes);
        let looks = tenants.map(|(tenant, settings)| async move {
            if let Err(error) = self.core.note_directory(&tenant, &settings).await {
                tracing::warn!(%tenant, %error, "cannot check whether the directory changed; trying again later");
            }
        });
        futures_util::future::join_all(looks).await;
    }
}
