//! GetConsoleScreenshot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::call::send;
use super::client::Cloud;
use crate::provider::types::{InstanceId, ProviderError, ProviderErrorKind};

impl Cloud {
    /// What an instance's screen shows, as a JPG.
    pub(super) async fn console_screenshot(&self, id: &InstanceId) -> Result<Vec<u8>, ProviderError> {
        let ec2 = self.ec2().await?;
        // A guest that has blanked its screen shows it again ("WakeUp").
        let call = ec2.get_console_screenshot().instance_id(&id.0).wake_up(true);
        let answer =
            self.fresh.settled(&[&id.0], || async { send!("GetConsoleScreenshot", call.clone()) }).await?;
        let encoded: String =
            answer.image_data().unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect();
        STANDARD.decode(encoded).map_err(|error| {
            ProviderError::new(
                "GetConsoleScreenshot",
                ProviderErrorKind::Unavailable,
                "Response",
                format!("the screenshot is no base64: {error}"),
            )
        })
    }
}
