//! Stories of lost states, leftovers, and what existed before: `state rebuild`, `sweep`, `import`,
//! volumes that are quicker while they are written.

mod place;

use std::fs;

use serde_json::Value;

use crate::support::booting::LOGIN;
use crate::support::workspace::text;
use place::{Place, running, stories};

stories! {
    a_lost_state_is_rebuilt_and_then_there_is_nothing_to_do
    an_old_state_learns_that_its_guest_has_run
    which_workspace_is_asked_where_it_is_not_clear
    a_second_set_is_said_and_both_are_ended
    leftovers_that_never_ran_are_swept_and_nothing_else
    what_a_guest_ran_from_is_never_swept
    a_volume_that_was_let_go_belongs_to_nobody
    an_instance_is_imported_with_its_volumes_and_then_there_is_nothing_to_do
    what_an_imported_instance_has_and_nobody_says_can_be_copied
    a_volume_of_another_workspace_is_taken_over_only_when_that_is_said
    a_volume_is_quicker_while_it_is_written_and_lowered_also_after_a_crash
}

fn machine(place: &impl Place, number: u8) -> String {
    format!(
        "instance \"web\" {{\n  image = \"web.raw\"\n  instance_type = \"m6i.large\"\n  private_ip = \"{}\"\n  state = \"stopped\"\n  guest {{ drivers = \"none\" }}\n  disk \"root\" {{}}\n  disk \"data\" {{ size = 1 }}\n  tags = {{ Name = \"web\" }}\n}}\n",
        place.address(number)
    )
}

fn stopped<P: Place>() -> P {
    let place = P::new();
    place.configure(&machine(&place, 15));
    place.workspace().raw_image("web.raw", 3, 1);
    place.apply().success();
    place
}

fn started<P: Place>(more: &str) -> P {
    let place = P::new();
    place.configure(&running(more));
    place.bootable("web.raw", LOGIN);
    place.apply().success();
    place
}

fn place_id<'a>(state: &'a Value, address: &str) -> &'a str {
    text(&state["resources"][address], "id")
}

/// A set whose state was lost, and another one made beside it: both are known, and both are ended.
fn a_second_set_is_said_and_both_are_ended<P: Place>() {
    let place: P = stopped();
    let state = place.workspace().path().join("replant.state.json");
    let first = text(&place.state(), "lineage").to_owned();
    // The copy from before the last change is still there.
    place.configure(&machine(&place, 15).replace("Name = \"web\"", "Name = \"renamed\""));
    place.apply().success();
    fs::remove_file(&state).unwrap();
    let refused = place.apply().code(1);
    let put_back = " cp ./replant.state.json.backup ./replant.state.json\n";
    assert!(refused.stderr.contains(put_back), "{}", refused.stderr);
    place.configure(&machine(&place, 16));
    place.run(&["apply", "--auto-approve", "--second-set"]).success();
    let second = text(&place.state(), "lineage").to_owned();
    assert_ne!(first, second);
    assert_eq!(place.left(), (4, 2));

    let listed = place.run(&["sweep"]).success();
    assert!(listed.stdout.contains(&format!("lineage {first}")), "{}", listed.stdout);
    assert!(!listed.stdout.contains(&format!("lineage {second}")), "{}", listed.stdout);
    let json: Value = serde_json::from_str(&place.run(&["sweep", "--json"]).success().stdout).unwrap();
    assert_eq!(json["others"][&first].as_array().map(Vec::len), Some(3));
    let told = place.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(told.stdout.contains(&format!("lineage {first}")), "{}", told.stdout);

    // As it is said.
    let own = state.with_extension("json.own");
    fs::rename(&state, &own).unwrap();
    place.run(&["state", "rebuild", "--lineage", &first, "--auto-approve"]).success();
    place.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(place.left(), (2, 1));
    fs::rename(&own, &state).unwrap();
    let clean = place.run(&["sweep"]).success();
    assert_eq!(clean.stdout, "Nothing but what the state knows carries this workspace's tags.\n");
    place.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(place.left(), (0, 0));
}

/// What is in a state but what only the run that wrote it could know.
fn comparable(state: &Value) -> Value {
    let mut resources = state["resources"].clone();
    for resource in resources.as_object_mut().unwrap().values_mut() {
        let members = resource.as_object_mut().unwrap();
        members.remove("write");
        members.remove("drivers");
        // Of an empty volume, only the run that made it knows that nothing was written.
        members.remove("written");
    }
    resources
}

fn a_lost_state_is_rebuilt_and_then_there_is_nothing_to_do<P: Place>() {
    let place: P = started("  disk \"root\" {}\n  disk \"data\" { size = 1 }\n  tags = { Name = \"web\" }");
    let before = place.state();
    place.lose_the_state();
    let plan = place.run(&["plan", "--detailed-exitcode", "--out", "saved.plan"]).code(2);
    assert!(plan.stdout.contains("1 to restore"), "{}", plan.stdout);
    assert!(plan.stdout.contains("warning[plan::second_set]"), "{}", plan.stdout);
    assert!(plan.stdout.contains(place_id(&before, "instance.web.volume.root")), "{}", plan.stdout);
    let left = place.left();
    for saved in [None, Some("saved.plan")] {
        let arguments: Vec<&str> = ["apply", "--auto-approve"].into_iter().chain(saved).collect();
        let refused = place.run(&arguments).code(1);
        assert!(refused.stderr.contains("replant state rebuild --lineage "), "{}", refused.stderr);
        assert_eq!(place.left(), left);
    }

    place.run(&["state", "rebuild"]).code(1);
    assert!(!place.workspace().path().join("replant.state.json").exists(), "nobody said yes");
    let rebuilt = place.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(rebuilt.stdout.contains("+ instance.web.volume.data = vol-"), "{}", rebuilt.stdout);
    let after = place.state();
    assert_eq!(after["lineage"], before["lineage"]);
    assert_eq!(comparable(&after), comparable(&before));
    let plan = place.run(&["plan", "--detailed-exitcode"]).code(0);
    assert!(plan.stdout.contains("No changes."), "{}", plan.stdout);
    let again = place.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(again.stdout.contains("The state knows all"), "{}", again.stdout);

    place.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(place.left(), (0, 0));
}

/// The danger of an old state: it would write a backup over what a guest has written since.
fn an_old_state_learns_that_its_guest_has_run<P: Place>() {
    let place = P::new();
    place.configure(&running("  state = \"stopped\""));
    place.bootable("web.raw", LOGIN);
    place.apply().success();
    let old = fs::read(place.workspace().path().join("replant.state.json")).unwrap();
    place.configure(&running(""));
    place.apply().success();
    let newest = place.state();
    fs::write(place.workspace().path().join("replant.state.json"), old).unwrap();
    let _ = fs::remove_file(place.workspace().path().join("replant.state.journal"));
    assert_eq!(place.state()["resources"]["instance.web.volume.root"]["started"], false);

    let rebuilt = place.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(rebuilt.stdout.contains("~ instance.web.volume.root = vol-"), "{}", rebuilt.stdout);
    let state = place.state();
    for address in ["instance.web", "instance.web.volume.root"] {
        assert_eq!(state["resources"][address]["id"], newest["resources"][address]["id"]);
    }
    assert_eq!(state["resources"]["instance.web.volume.root"]["started"], true);
    assert_eq!(state["resources"]["instance.web"]["phase"], "started");
    place.bootable("web.raw", "\r\nnewer login: ");
    let plan = place.run(&["plan"]).success();
    assert!(plan.stdout.contains("it is not written again"), "{}", plan.stdout);
}

fn which_workspace_is_asked_where_it_is_not_clear<P: Place>() {
    let first: P = stopped();
    let second = first.beside();
    second.configure(&machine(&second, 16));
    second.workspace().raw_image("web.raw", 3, 2);
    let refused = second.apply().code(1);
    let other = text(&first.state(), "lineage").to_owned();
    assert!(
        refused.stderr.contains("plan::second_set") && refused.stderr.contains(&other),
        "{}",
        refused.stderr
    );
    assert!(!second.workspace().path().join("replant.state.json").exists(), "nothing was begun");
    second.run(&["apply", "--auto-approve", "--second-set"]).success();
    let lineage = text(&second.state(), "lineage").to_owned();
    second.lose_the_state();
    let asked = second.run(&["state", "rebuild", "--auto-approve"]).code(1);
    assert!(asked.stderr.contains("rebuild::which") && asked.stderr.contains(&lineage), "{}", asked.stderr);
    second.run(&["state", "rebuild", "--auto-approve", "--lineage", &lineage]).success();
    assert_eq!(second.state()["resources"]["instance.web"]["private_ip"], second.address(16));
    // What no guest ever ran from is written anew, since nobody knows what is on it.
    let plan = second.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("its content is not written"), "{}", plan.stdout);
    let other =
        second.run(&["state", "rebuild", "--lineage", "00000000-0000-4000-8000-000000000000"]).code(1);
    assert!(other.stderr.contains("state::has_lineage"), "{}", other.stderr);
}

fn leftovers_that_never_ran_are_swept_and_nothing_else<P: Place>() {
    let place: P = stopped();
    let clean = place.run(&["sweep"]).success();
    assert!(clean.stdout.contains("Nothing but what the state knows"), "{}", clean.stdout);
    place.run(&["state", "rm", "instance.web"]).success();
    let listed = place.run(&["sweep"]).success();
    assert!(listed.stdout.contains("3 resources in no state"), "{}", listed.stdout);
    assert!(listed.stdout.contains("made for instance.web.volume.data, 1 GiB"), "{}", listed.stdout);
    let json: Value = serde_json::from_str(&place.run(&["sweep", "--json"]).success().stdout).unwrap();
    assert_eq!((json["version"].as_u64(), json["strays"].as_array().map(Vec::len)), (Some(1), Some(3)));
    let asked = place.run(&["sweep", "--remove"]).code(1);
    assert!(asked.stderr.contains("apply::not_approved"), "{}", asked.stderr);
    assert_eq!(place.left().0, 2);
    place.run(&["sweep", "--remove", "--auto-approve"]).success();
    assert_eq!(place.left(), (0, 0));
}

fn what_a_guest_ran_from_is_never_swept<P: Place>() {
    let place: P = started("  disk \"root\" { final_snapshot = true }");
    place.run(&["state", "rm", "instance.web"]).success();
    let listed = place.run(&["sweep"]).success();
    assert!(listed.stdout.contains("a restored guest has run in it"), "{}", listed.stdout);
    assert!(listed.stdout.contains("a guest has run from it"), "{}", listed.stdout);
    assert!(!listed.stdout.contains("replant sweep --remove"), "{}", listed.stdout);
    place.run(&["sweep", "--remove", "--auto-approve"]).success();
    assert_eq!(place.left(), (1, 1));

    place.run(&["state", "rebuild", "--auto-approve"]).success();
    place.run(&["destroy", "--auto-approve"]).success();
    let listed = place.run(&["sweep"]).success();
    assert!(listed.stdout.contains("it keeps the data of a volume that was destroyed"), "{}", listed.stdout);
}

fn a_volume_that_was_let_go_belongs_to_nobody<P: Place>() {
    let kept = "disk \"data\" {\n    size = 1\n    delete_on_termination = false\n  }";
    let place = P::new();
    place.configure(&machine(&place, 15).replace("disk \"data\" { size = 1 }", kept));
    place.workspace().raw_image("web.raw", 3, 1);
    place.apply().success();
    place.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(place.left().0, 1);
    let listed = place.run(&["sweep"]).success();
    assert!(listed.stdout.contains("Nothing but what the state knows"), "{}", listed.stdout);
}

fn an_instance_is_imported_with_its_volumes_and_then_there_is_nothing_to_do<P: Place>() {
    let place: P = started("  disk \"root\" {}\n  disk \"data\" { size = 1 }");
    let before = place.state();
    let id = text(&before["resources"]["instance.web"], "id").to_owned();
    let known = place.run(&["import", "instance.web", &id]).code(1);
    assert!(known.stderr.contains("import::known"), "{}", known.stderr);
    place.run(&["state", "rm", "instance.web"]).success();

    let missing = place.run(&["import", "instance.web", "i-00000000000000000"]).code(1);
    assert!(missing.stderr.contains("import::not_found"), "{}", missing.stderr);
    let unknown = place.run(&["import", "instance.db", &id]).code(1);
    assert!(unknown.stderr.contains("import::not_configured"), "{}", unknown.stderr);
    let wrong = place.run(&["import", "instance.web", &id, "--disk", "logs=vol-0"]).code(1);
    assert!(wrong.stderr.contains("import::no_such_disk"), "{}", wrong.stderr);
    let imported = place.run(&["import", "instance.web", &id]).success();
    assert!(imported.stdout.contains("instance.web.volume.data is vol-"), "{}", imported.stdout);
    assert_eq!(comparable(&place.state()), comparable(&before));
    place.run(&["plan", "--detailed-exitcode"]).code(0);
}

fn what_an_imported_instance_has_and_nobody_says_can_be_copied<P: Place>() {
    let options = "  termination_protection = true\n  monitoring = true\n  tags = { Role = \"a ${x}\" }\n  metadata_options { http_tokens = \"optional\" }\n".replace('$', "$$");
    let said =
        format!("{options}  disk \"root\" {{}}\n  disk \"data\" {{\n    size = 10\n    iops = 4000\n  }}");
    let place: P = started(&said);
    let id = place.id("instance.web");
    place.run(&["state", "rm", "instance.web"]).success();
    place.configure(&running("  disk \"root\" {}\n  disk \"data\" { size = 10 }"));
    let imported = place.run(&["import", "instance.web", &id]).success();
    let shown = &imported.stdout;
    let block = shown.split_once("instance \"web\" {\n").and_then(|(_, rest)| rest.split_once("\n}\n"));
    let (block, _) = block.unwrap_or_else(|| panic!("{shown}"));
    for wanted in [
        "metadata_options {\n    http_tokens = \"optional\"\n  }",
        "disk \"data\" {\n    iops = 4000\n  }",
        "Role = \"a $${x}\"",
    ] {
        assert!(block.contains(wanted), "{wanted}: {shown}");
    }
    // What every instance has by itself is not said, nor what is.
    for unwanted in ["hop_limit", "tenancy", "size", "disk \"root\"", "throughput", "replant:"] {
        assert!(!block.contains(unwanted), "{unwanted}: {shown}");
    }
    place.run(&["plan", "--detailed-exitcode"]).code(2);
    // Copied, but for what the disk's own block already has.
    let copied = block.replace("disk \"data\" {\n", "disk \"data\" {\n    size = 10\n");
    place.configure(&running(&format!("  disk \"root\" {{}}\n{copied}")));
    place.run(&["plan", "--detailed-exitcode"]).code(0);
}

fn a_volume_of_another_workspace_is_taken_over_only_when_that_is_said<P: Place>() {
    let first: P = stopped();
    let volume = text(&first.state()["resources"]["instance.web.volume.data"], "id").to_owned();
    let second = first.beside();
    second.configure(&machine(&second, 16).replace("\"stopped\"", "\"standby\""));
    second.workspace().raw_image("web.raw", 3, 2);
    let address = "instance.web.volume.data";
    let refused = second.run(&["import", address, &volume]).code(1);
    assert!(refused.stderr.contains("import::other_workspace"), "{}", refused.stderr);
    let step = second.run(&["import", "instance.web.write.data", &volume]).code(1);
    assert!(step.stderr.contains("import::no_resource"), "{}", step.stderr);
    first.run(&["state", "rm", "instance.web"]).success();
    second.run(&["import", address, &volume, "--take-over"]).success();
    let state = second.state();
    assert_eq!(
        (text(&state["resources"][address], "id"), &state["resources"][address]["started"]),
        (volume.as_str(), &Value::Bool(true))
    );
}

fn a_volume_is_quicker_while_it_is_written_and_lowered_also_after_a_crash<P: Place>() {
    let place = P::new();
    place.configure(&running(
        "  state = \"stopped\"\n  disk \"root\" {\n    throughput = 250\n    restore_throughput = 750\n    restore_iops = 6000\n    size = 20\n  }",
    ));
    place.bootable("web.raw", LOGIN);
    let applied = place.apply().success();
    assert!(applied.stdout.contains("its performance lowered"), "{}", applied.both());
    assert_eq!(place.performance("instance.web.volume.root"), (3000, 250));
    place.run(&["plan", "--detailed-exitcode"]).code(0);
}
