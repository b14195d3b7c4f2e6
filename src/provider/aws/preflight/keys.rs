//! KMS keys. EC2 makes a volume with a key that cannot be used, and the volume then fails while
//! nobody looks ("Troubleshoot key access", EBS User Guide); only KMS says so beforehand. Reading
//! that is optional: without the permission the plan says once that nobody looked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::survey::{Survey, together};
use crate::diagnostic::Diagnostic;
use crate::provider::aws::call::send;
use crate::provider::preflight::{Concern, WantedVolume};
use crate::provider::types::{ProviderError, ProviderErrorKind};

/// For an answer that a plan can do without.
pub(super) const OPTIONAL: Duration = Duration::from_secs(8);

impl Survey<'_> {
    /// Volumes that shall not be encrypted in an account that encrypts all of them.
    pub(super) async fn encryption(&self) -> Vec<Concern> {
        let plain: Vec<&WantedVolume> =
            self.request.volumes.iter().filter(|volume| volume.request.encrypted == Some(false)).collect();
        if plain.is_empty() {
            return Vec::new();
        }
        let answer = self.unread.read("ec2", self.encrypts_by_default().await);
        if answer != Some(true) {
            return Vec::new();
        }
        let concern = |volume: &WantedVolume| {
            let diagnostic = Diagnostic::warning(
                "aws::encrypted_by_default",
                "A volume is encrypted although it shall not be",
            )
            .detail(format!(
                "{} says encrypted = false for its disk {}, and this account encrypts every new volume in this region. The restore works all the same.",
                volume.instance, volume.disk
            ))
            .help("leave `encrypted` out, or set it to true")
            .help("or, if the account shall not do that:\naws ec2 disable-ebs-encryption-by-default");
            Concern::at(&volume.instance, volume.path("encrypted"), diagnostic)
        };
        plain.into_iter().map(concern).collect()
    }

    async fn encrypts_by_default(&self) -> Result<bool, ProviderError> {
        let call = self.cloud.ec2().await?.get_ebs_encryption_by_default();
        let answer = send!("GetEbsEncryptionByDefault", call)?;
        Ok(answer.ebs_encryption_by_default().unwrap_or(false))
    }

    pub(super) async fn keys(&self) -> Vec<Concern> {
        let mut wanted: BTreeMap<&str, Vec<&WantedVolume>> = BTreeMap::new();
        for volume in &self.request.volumes {
            if let Some(key) = &volume.request.kms_key_id {
                wanted.entry(key).or_default().push(volume);
            }
        }
        let calls = wanted.keys().map(|key| self.key(key)).collect();
        let answers: Vec<Option<Diagnostic>> = together(calls).await;
        let mut found = Vec::new();
        for (volumes, diagnostic) in wanted.values().zip(answers) {
            let Some(diagnostic) = diagnostic else { continue };
            found.extend(
                volumes.iter().map(|volume| {
                    Concern::at(&volume.instance, volume.path("kms_key_id"), diagnostic.clone())
                }),
            );
        }
        found
    }

    /// What is wrong with a key.
    async fn key(&self, key: &str) -> Option<Diagnostic> {
        match self.optional("kms", "TrentService.DescribeKey", &json!({ "KeyId": key })).await {
            Ok(answer) => unusable(key, &answer["KeyMetadata"]),
            Err(error) if error.kind == ProviderErrorKind::NotFound => Some(
                Diagnostic::error("aws::kms_key_missing", "A KMS key that does not exist")
                    .detail(format!("{key} is not a key of this region: {}", error.message))
                    .help("name a key of this region by its id, ARN or alias; see which there are:\naws kms list-aliases")
                    .help("a key of another account is named by its whole ARN"),
            ),
            Err(error) => {
                self.unread.read::<()>("kms", Err(error));
                None
            }
        }
    }

    /// A call of another service whose answer a plan can do without.
    pub(super) async fn optional(
        &self,
        service: &'static str,
        target: &'static str,
        body: &Value,
    ) -> Result<Value, ProviderError> {
        let call = self.cloud.signed_json(service, target, body);
        tokio::time::timeout(OPTIONAL, call).await.unwrap_or_else(|_| {
            let operation = target.split_once('.').map_or(target, |(_, operation)| operation);
            Err(ProviderError::new(
                operation,
                ProviderErrorKind::Unavailable,
                "Timeout",
                format!("no answer within {} s", OPTIONAL.as_secs()),
            ))
        })
    }
}

/// Why volumes cannot be encrypted with a key ("KeyMetadata", KMS API Reference; EBS wants a
/// symmetric key: "Amazon EBS encryption").
fn unusable(key: &str, metadata: &Value) -> Option<Diagnostic> {
    let text = |name: &str| metadata[name].as_str().unwrap_or_default();
    let id = match text("KeyId") {
        "" => key,
        id => id,
    };
    let is_symmetric = matches!(text("KeySpec"), "SYMMETRIC_DEFAULT" | "")
        && matches!(text("KeyUsage"), "ENCRYPT_DECRYPT" | "");
    let (why, help) = match text("KeyState") {
        "Enabled" | "" if is_symmetric => return None,
        "Enabled" | "" => (
            format!(
                "is a key of the kind {} for {}, and EBS encrypts with symmetric keys only",
                text("KeySpec"),
                text("KeyUsage")
            ),
            "name a symmetric key for encryption, or leave kms_key_id out for the account's own".to_owned(),
        ),
        "Disabled" => ("is disabled".to_owned(), format!("enable it:\naws kms enable-key --key-id {id}")),
        "PendingDeletion" | "PendingReplicaDeletion" => (
            "is to be deleted".to_owned(),
            format!("keep it, and enable it again:\naws kms cancel-key-deletion --key-id {id}"),
        ),
        "PendingImport" => (
            "has no key material yet, or it expired".to_owned(),
            "import its key material, or name another key".to_owned(),
        ),
        "Unavailable" => (
            "is in a key store that is not connected".to_owned(),
            "connect its key store, or name another key".to_owned(),
        ),
        other => {
            (format!("is in the state {other}"), "name another key, or wait until it is enabled".to_owned())
        }
    };
    Some(
        Diagnostic::error("aws::kms_key_unusable", "A KMS key that cannot be used")
            .detail(format!("{key} {why}. EC2 would make the volume and then give it up without a word."))
            .help(help),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_must_be_enabled_and_symmetric() {
        let key = |state: &str, spec: &str| json!({ "KeyId": "k", "KeyState": state, "KeySpec": spec, "KeyUsage": "ENCRYPT_DECRYPT" });
        assert!(unusable("alias/a", &key("Enabled", "SYMMETRIC_DEFAULT")).is_none());
        for (state, spec, said) in [
            ("Disabled", "SYMMETRIC_DEFAULT", "is disabled"),
            ("PendingDeletion", "SYMMETRIC_DEFAULT", "is to be deleted"),
            ("PendingImport", "SYMMETRIC_DEFAULT", "no key material"),
            ("Unavailable", "SYMMETRIC_DEFAULT", "not connected"),
            ("Creating", "SYMMETRIC_DEFAULT", "in the state Creating"),
            ("Enabled", "RSA_2048", "RSA_2048"),
        ] {
            let found = unusable("alias/a", &key(state, spec)).unwrap();
            assert!(found.detail.contains(said), "{state}: {}", found.detail);
        }
    }
}
