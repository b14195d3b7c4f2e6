//! Options of instances and data sources: the same rules on every provider.

use replant::model::{
    CpuCredits, InstanceOptions, InterfaceSpec, Lookup, LookupFilter, LookupKind, MetadataOptions,
    PlacementSpec,
};
use replant::provider::{InstanceState, ModifyInstance, ProviderErrorKind, RunInstance};

use super::conformance::{Subject, run, run_request, token};

async fn subnet(subject: &Subject) -> String {
    let mut lookup = Lookup::of(LookupKind::Subnet);
    let filter = LookupFilter { name: "availability-zone".to_owned(), values: vec![subject.zone.clone()] };
    lookup.filters.push(filter);
    let found = subject.provider.lookup(&lookup).await.unwrap();
    assert_eq!(found[0].text("availability_zone"), Some(subject.zone.as_str()));
    found[0].id.clone()
}

async fn options_are_kept(subject: &Subject) {
    let subnet = subnet(subject).await;
    let interface = |device_index| InterfaceSpec {
        device_index,
        subnet_id: Some(subnet.clone()),
        delete_on_termination: true,
        description: Some("backup".to_owned()),
        ..InterfaceSpec::default()
    };
    let options = InstanceOptions {
        network_interfaces: vec![interface(1)],
        placement: PlacementSpec { group_name: Some("near".to_owned()), ..PlacementSpec::default() },
        metadata: MetadataOptions { hop_limit: Some(2), tags: Some(true), ..MetadataOptions::default() },
        cpu_credits: Some(CpuCredits::Standard),
        monitoring: true,
        disable_api_stop: false,
    };
    let request = |options: &InstanceOptions| RunInstance {
        token: token(),
        instance_type: "t3.large".to_owned(),
        subnet_id: Some(subnet.clone()),
        options: options.clone(),
        ..run_request(&subject.zone)
    };
    let provider = &subject.provider;
    let id = provider.run_instance(&request(&options)).await.unwrap().id;
    subject.instance_state(&id, InstanceState::Running).await;
    let view = subject.instance(&id).await.unwrap();
    assert_eq!(options.refreshed(&view.options), options, "{:?}", view.options);
    assert!(!view.options.disable_api_stop);

    // At once: metadata, credits, monitoring.
    let metadata =
        MetadataOptions { tokens_required: false, hop_limit: Some(3), tags: Some(false), endpoint: true };
    let change = ModifyInstance {
        metadata: Some(metadata.clone()),
        cpu_credits: Some(CpuCredits::Unlimited),
        monitoring: Some(false),
        disable_api_stop: Some(true),
        ..ModifyInstance::default()
    };
    provider.modify_instance(&id, &change).await.unwrap();
    let now = subject.instance(&id).await.unwrap().options;
    assert_eq!((&now.metadata, now.monitoring, now.disable_api_stop), (&metadata, false, true));
    assert_eq!(now.cpu_credits, Some(CpuCredits::Unlimited));

    // Only stopped, and it may not be stopped.
    let elsewhere = PlacementSpec { group_name: Some("far".to_owned()), ..PlacementSpec::default() };
    let moved = ModifyInstance { placement: Some(elsewhere.clone()), ..ModifyInstance::default() };
    let error = provider.modify_instance(&id, &moved).await.unwrap_err();
    assert_eq!(error.code, "IncorrectInstanceState");
    let error = provider.stop_instance(&id).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ProviderErrorKind::IncorrectState, "OperationNotPermitted")
    );
    let free = ModifyInstance { disable_api_stop: Some(false), ..ModifyInstance::default() };
    provider.modify_instance(&id, &free).await.unwrap();
    subject.stop(&id).await;
    provider.modify_instance(&id, &moved).await.unwrap();
    let now = subject.instance(&id).await.unwrap().options;
    assert_eq!(now.placement.group_name.as_deref(), Some("far"));

    // What the type does not have.
    let many = InstanceOptions { network_interfaces: (1..4).map(interface).collect(), ..options.clone() };
    let error = provider.run_instance(&request(&many)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ProviderErrorKind::LimitExceeded, "AttachmentLimitExceeded")
    );
    let steady = RunInstance { instance_type: "m6i.large".to_owned(), ..request(&options) };
    let error = provider.run_instance(&steady).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterCombination");
    let lost = PlacementSpec { host_id: Some("h-0123456789abcdef0".to_owned()), ..PlacementSpec::default() };
    let lost = InstanceOptions { placement: lost, ..InstanceOptions::default() };
    let error = provider.run_instance(&request(&lost)).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterCombination");
}

async fn lookups_answer(subject: &Subject) {
    let by_id = |kind, id: &str| Lookup { id: Some(id.to_owned()), ..Lookup::of(kind) };
    let subnet = subnet(subject).await;
    for (kind, id) in [(LookupKind::Subnet, subnet.as_str()), (LookupKind::Ami, "ami-0a2000000000000b1")] {
        let found = subject.provider.lookup(&by_id(kind, id)).await.unwrap();
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(one.id, id);
        for name in one.attributes.keys() {
            assert!(kind.attributes().contains(&name.as_str()), "{name}");
        }
        assert_eq!(one.text("id"), Some(id));
        let again = subject.provider.lookup(&by_id(kind, id)).await.unwrap();
        assert_eq!(found, again, "the same question has the same answer");
    }
}

#[test]
fn local_keeps_options() {
    run(async { options_are_kept(&super::local::subject()).await });
}

#[test]
fn local_answers_lookups() {
    run(async { lookups_answer(&super::local::subject()).await });
}

#[cfg(feature = "aws")]
#[test]
fn ec2_keeps_options() {
    run(async { options_are_kept(&super::aws::subject()).await });
}

#[cfg(feature = "aws")]
#[test]
fn ec2_answers_lookups() {
    run(async { lookups_answer(&super::aws::subject()).await });
}

/// An interface that exists belongs to one instance, and outlives it.
#[test]
fn an_existing_interface_is_taken_once() {
    run(async {
        let subject = super::local::subject();
        let taken = InterfaceSpec {
            network_interface_id: Some("eni-0123456789abcdef0".to_owned()),
            ..InterfaceSpec::default()
        };
        let options = InstanceOptions { network_interfaces: vec![taken], ..InstanceOptions::default() };
        let request = || RunInstance { options: options.clone(), ..run_request(&subject.zone) };
        let first = subject.provider.run_instance(&request()).await.unwrap();
        let error = subject.provider.run_instance(&request()).await.unwrap_err();
        assert_eq!(error.code, "InvalidNetworkInterface.InUse");
        let lookup = Lookup {
            id: Some("eni-0123456789abcdef0".to_owned()),
            ..Lookup::of(LookupKind::NetworkInterface)
        };
        let found = subject.provider.lookup(&lookup).await.unwrap().remove(0);
        assert_eq!(
            (found.text("status"), found.text("instance_id")),
            (Some("in-use"), Some(first.id.0.as_str()))
        );
        subject.instance_state(&first.id, InstanceState::Running).await;
        subject.provider.terminate_instance(&first.id).await.unwrap();
        subject.instance_state(&first.id, InstanceState::Terminated).await;
        subject.provider.run_instance(&request()).await.unwrap();
    });
}
