//! What is asked, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::Poll;

use super::permissions::Mistakes;
use super::unread::Unread;
use crate::provider::aws::access::Node;
use crate::provider::aws::client::Cloud;
use crate::provider::preflight::{Concern, Place, Preflight};
use crate::provider::types::InstanceTypeFacts;

/// What every check looks at.
pub(super) struct Survey<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) request: &'a Preflight,
    pub(super) node: Node,
    /// Facts of all types that are named.
    pub(super) types: BTreeMap<String, InstanceTypeFacts>,
    pub(super) unread: Unread,
}

impl Cloud {
    /// Everything that stands in the way.
    pub(in crate::provider::aws) async fn preflight(&self, request: &Preflight) -> Vec<Concern> {
        if request.is_empty() {
            return Vec::new();
        }
        let unread = Unread::default();
        let Some(node) = unread.read("ec2", self.describe_node().await) else {
            return unread.concern().into_iter().collect();
        };
        let types = unread.read("ec2", self.instance_types(&types(request)).await).unwrap_or_default();
        let survey = Survey { cloud: self, request, node, types, unread };
        let (node, network, machines, keys, encryption, quotas, mut tried) = tokio::join!(
            survey.access_node(),
            survey.network(),
            survey.machines(),
            survey.keys(),
            survey.encryption(),
            survey.quotas(),
            survey.permissions(),
        );
        let found = [node, network, machines, keys, encryption, quotas];
        let mut found: Vec<Concern> = found.into_iter().flatten().collect();
        let mut mistakes = Mistakes::new();
        for concern in found.iter().filter(|concern| concern.diagnostic.is_error()) {
            if let Place::Attribute { instance, path } = &concern.place {
                mistakes.entry(instance.clone()).or_default().insert(path.clone());
            }
        }
        survey.launches(&mistakes, &mut tried).await;
        found.extend(tried.concerns());
        found.extend(survey.unread.concern());
        found
    }
}

/// The answers of calls that are made side by side, in their order.
pub(super) async fn together<T>(calls: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = calls.into_iter().map(|call| (Box::pin(call), None)).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (call, answer) in running.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match call.as_mut().poll(context) {
                Poll::Ready(value) => *answer = Some(value),
                Poll::Pending => is_done = false,
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, answer)| answer).collect()
}

fn types(request: &Preflight) -> BTreeSet<String> {
    let launched = request.launches.iter().map(|launch| launch.request.instance_type.clone());
    let changed =
        request.changes.instances.values().filter_map(|changed| changed.request.instance_type.clone());
    launched.chain(changed).collect()
}
