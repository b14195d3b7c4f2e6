//! EC2's rules, also with faults below the SDK and behind the decorator that makes them.

use std::sync::Arc;

use replant::provider::faulty::{Faults, Faulty};
use serde_json::{Value, json};

use super::super::conformance::{Subject, conforms};
use super::super::ec2::Cloud;
use super::{subject, subject_of};

conforms!(subject);

/// A cloud of which some calls fail, and how: the SDK repeats them, the provider finds out what an
/// attempt whose reply was lost has done, and nobody notices.
fn with_faults(faults: &Value) -> Subject {
    let cloud = Cloud::new(json!({ "delay": 0.6 }));
    cloud.set(&json!({ "faults": faults }));
    subject_of(cloud)
}

mod throttled {
    use super::*;

    fn subject() -> Subject {
        with_faults(&json!({ "seed": 3, "throttled": 160 }))
    }

    conforms! { subject:
        tokens_make_one_volume tokens_make_one_instance the_root_is_swapped an_image_is_launched_with_its_volumes
    }
}

mod faults_of_seed_1 {
    use super::*;

    fn subject() -> Subject {
        with_faults(&json!({ "seed": 1, "throttled": 50, "unavailable": 50, "lost": 80 }))
    }

    // Without `volume_limits` and `tokens_make_one_instance`: they ask for the kind of one refusal, and
    // here it comes after an attempt that may have had an effect, which is what its kind then says.
    conforms! { subject:
        volumes_become_available tokens_make_one_volume attaching detaching slots_are_counted
        zones_are_walls devices_are_proven volumes_only_grow deleting_volumes tags_and_filters
        snapshots_hold_the_moment instances_live the_root_is_swapped terminating_takes_volumes
        protection_protects addresses_are_unique instances_are_checked unknown_things_are_not_found
        types_are_known images_are_made_of_snapshots an_image_is_launched_with_its_volumes
    }
}

mod faults_of_seed_2 {
    use super::*;

    fn subject() -> Subject {
        with_faults(&json!({ "seed": 2, "throttled": 50, "unavailable": 50, "lost": 80 }))
    }

    // Without `instances_live` (as above) and `images_are_made_of_snapshots`: an image that an earlier attempt
    // may have taken away is gone, where the test wants a refusal.
    conforms! { subject:
        volumes_become_available tokens_make_one_volume volume_limits attaching detaching
        slots_are_counted zones_are_walls devices_are_proven volumes_only_grow deleting_volumes
        tags_and_filters snapshots_hold_the_moment tokens_make_one_instance the_root_is_swapped
        terminating_takes_volumes protection_protects addresses_are_unique instances_are_checked
        unknown_things_are_not_found types_are_known an_image_is_launched_with_its_volumes
    }
}

mod behind_faulty {
    use super::*;

    fn subject() -> Subject {
        let subject = super::subject();
        Subject { provider: Arc::new(Faulty::new(subject.provider, Faults::default())), ..subject }
    }

    conforms! { subject: devices_are_proven snapshots_hold_the_moment instances_live }
}
