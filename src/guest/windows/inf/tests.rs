//! Small files, each with one feature; whole packages are in `tests/it/guest/windows`.

use super::decoration::closeness;
use super::{Inf, InfError, Product, RegistryData, Target};
use crate::model::Architecture;

fn parsed(text: &str) -> Inf {
    Inf::parse(text.as_bytes()).unwrap()
}

fn values(text: &str) -> Vec<String> {
    let inf = parsed(&format!("[s]\n{text}"));
    let lines = &inf.section("S").unwrap().lines;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].values.clone()
}

#[test]
fn values_are_split_and_unquoted() {
    assert_eq!(values("a, b ,c"), ["a", "b", "c"]);
    assert_eq!(values("k = a,,\"\",d"), ["a", "", "", "d"]);
    assert_eq!(values("k=a,"), ["a"]);
    assert_eq!(values("k = \" x, y \" ; z"), [" x, y "]);
    assert_eq!(values("k = one two ;three"), ["one two"]);
    assert_eq!(values("k = \"a \"\"b\"\" c\""), ["a \"b\" c"]);
    assert_eq!(values("k = a\"b,c\"d"), ["ab,cd"]);
    assert_eq!(values("HKR,,Name,,a=b"), ["HKR", "", "Name", "", "a=b"]);
    assert_eq!(values("k = a=b"), ["a=b"]);
    // A quote that is not closed ends with its line.
    assert_eq!(values("k = \"a, b"), ["a, b"]);
    assert_eq!(values("k = %a;b%, c ; d%"), ["%a;b%", "c"]);
    assert_eq!(values("k = 100%, c ; d%"), ["100%", "c"]);
}

#[test]
fn lines_are_continued() {
    assert_eq!(values("k = a, \\\n b,\\  ; comment\r\n c"), ["a", "b", "c"]);
    assert_eq!(values("k = \"Some\\\"\\\n,File"), ["Some\\", "File"]);
    assert_eq!(values("k = \"Some\\\"\\ ; comment\n,File"), ["Some\\", "File"]);
    assert_eq!(values("k = Some\\\\\n,File"), ["Some", "File"]);
    assert_eq!(values("k = C:\\x\\y"), ["C:\\x\\y"]);
    assert_eq!(values("k = a,\\"), ["a"]);
}

#[test]
fn sections_are_merged_whatever_their_case() {
    let inf = parsed("; c\n\n[One]\na=1\n[Two]\nb=2\n [ONE] trailing\nc=3\n");
    assert_eq!(inf.sections().len(), 2);
    let one = inf.section("one").unwrap();
    assert_eq!(one.lines.len(), 2);
    assert_eq!(one.line("C").unwrap().value(0), "3");
    assert_eq!(one.line("c").unwrap().number, 8);
}

#[test]
fn strings_are_put_in() {
    let inf = parsed(
        "[Strings]\nName=\"plain\"\nonly = x\nself=%self%\n[Strings.0407]\nName=deutsch\nGerman=ja\n\
         [STRINGS.0409]\nname=english\n",
    );
    assert_eq!(inf.expand("a %NAME% b"), "a english b");
    assert_eq!(inf.expand("%only%%German%"), "xja");
    assert_eq!(inf.expand("%%Only%% 100% %"), "%Only% 100% %");
    assert_eq!(inf.expand("%12%\\x.sys %unknown%"), "%12%\\x.sys %unknown%");
    assert_eq!(inf.expand("%self%"), "%self%", "strings are put in once");
}

#[test]
fn every_encoding_is_read() {
    let text = "[Strings]\r\nname = \"Größe\"\r\n";
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let encoded = [
        text.as_bytes().to_vec(),
        [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
        [vec![0xff, 0xfe], wide(u16::to_le_bytes)].concat(),
        [vec![0xfe, 0xff], wide(u16::to_be_bytes)].concat(),
        wide(u16::to_le_bytes),
        latin,
    ];
    for bytes in encoded {
        assert_eq!(Inf::parse(&bytes).unwrap().expand("%name%"), "Größe", "{:x?}", &bytes[..4]);
    }
}

#[test]
fn what_is_no_setup_file_is_refused() {
    let error = |text: &str| Inf::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error("; c\nwords\n[a]\n"), InfError::NoSection { line: 2 });
    assert_eq!(error("[a\n"), InfError::Header { line: 1 });
    assert_eq!(error("[]\n"), InfError::Header { line: 1 });
    assert_eq!(error(&format!("[{}]", "x".repeat(256))), InfError::Header { line: 1 });
    assert_eq!(error(&format!("[a]\n\nk={}", "x".repeat(4096))), InfError::Long { line: 3 });
    assert!(matches!(error(&format!("[a]\nk={}", ",".repeat(300_000))), InfError::TooMany { .. }));
    assert!(matches!(error(&" ".repeat(5 << 20)), InfError::TooLarge { .. }));
    let many: String = (0..20_000).map(|number| format!("[{number}]\n")).collect();
    assert_eq!(error(&many), InfError::TooMany { what: "sections", most: 16384 });
    assert!(Inf::parse(b"").unwrap().models(&server(6, 1, 7601)).is_err());
}

#[test]
fn long_strings_are_no_amplifier() {
    let long = "y".repeat(4000);
    // One string of 4,000 characters, 40,000 times.
    let lines = "HKR,,x,,%a%\n".repeat(40_000);
    let text = format!(
        "[Manufacturer]\n%a%=M,NTamd64\n[M.NTamd64]\nd=I,x\n[I]\nAddReg=R\n[R]\n{lines}[Strings]\na={long}\n"
    );
    let inf = parsed(&text);
    let target = server(10, 0, 17763);
    let models = inf.models(&target).unwrap();
    let error = inf.install(&models[0], &target).unwrap_err();
    assert!(matches!(error, InfError::TooMany { what: "bytes of entries", .. }), "{error}");
    let many = "%a%=M,NTamd64\n".repeat(5000);
    let models = "%a%=I,%a%\n".repeat(5000);
    let text = format!("[Manufacturer]\n{many}[M.NTamd64]\n{models}[Strings]\na={long}\n");
    assert!(matches!(parsed(&text).models(&target), Err(InfError::TooMany { .. })));
}

fn server(major: u32, minor: u32, build: u32) -> Target {
    Target::amd64(major, minor, build, Product::Server)
}

/// The decoration that is taken of a list.
fn taken<'a>(list: &[&'a str], target: &Target) -> Option<&'a str> {
    let applying = list.iter().filter_map(|text| Some((closeness(text, target)?, *text)));
    applying.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, text)| text)
}

#[test]
fn the_closest_decoration_is_taken() {
    let xp = Target { architecture: Architecture::I386, ..Target::amd64(5, 1, 2600, Product::Workstation) };
    let datacenter = Target { suites: 0x80, ..xp };
    // Microsoft's own examples ("INF Manufacturer section").
    let list = ["NT", "NT.5", "NT.5.5", "NT....0x80"];
    assert_eq!(taken(&list, &xp), Some("NT.5"));
    assert_eq!(taken(&list, &datacenter), Some("NT.5"));
    assert_eq!(taken(&["NTx86....0x80", "NTx86", "NTamd64"], &datacenter), Some("NTx86....0x80"));
    assert_eq!(taken(&["NTx86....0x80", "NTx86", "NTamd64"], &xp), Some("NTx86"));
    assert_eq!(taken(&["NTx86....0x80", "NTamd64"], &server(6, 1, 7601)), Some("NTamd64"));
    assert_eq!(taken(&["NT.7.8", "NT"], &xp), Some("NT"));
    // A build number counts from 14310 on, and only for its own version.
    let list = ["NTamd64.6.3", "NTamd64.10.0", "NTamd64.10.0...14393", "NTamd64.10.0...17763"];
    assert_eq!(taken(&list, &server(6, 1, 7601)), None);
    assert_eq!(taken(&list, &server(6, 3, 9600)), Some("NTamd64.6.3"));
    assert_eq!(taken(&list, &server(10, 0, 10240)), Some("NTamd64.10.0"));
    assert_eq!(taken(&list, &server(10, 0, 14393)), Some("NTamd64.10.0...14393"));
    assert_eq!(taken(&list, &server(10, 0, 20348)), Some("NTamd64.10.0...17763"));
    assert_eq!(taken(&["NTamd64.10.0...17763"], &server(10, 0, 14393)), None);
    let later = server(10, 1, 1);
    assert_eq!(taken(&["NTamd64.10.0...17763"], &later), Some("NTamd64.10.0...17763"), "a later version");
    assert_eq!(taken(&["NTamd64.6.1...14393"], &server(10, 0, 17763)), None, "no such build of Windows 7");
    // Product types must be the same.
    let list = ["NTamd64.6.2", "NTamd64.6.2.1", "ntAMD64.6.2.0x3"];
    assert_eq!(taken(&list, &server(6, 2, 9200)), Some("ntAMD64.6.2.0x3"));
    assert_eq!(taken(&list, &Target::amd64(6, 2, 9200, Product::Workstation)), Some("NTamd64.6.2.1"));
    assert_eq!(taken(&list, &Target::amd64(6, 2, 9200, Product::DomainController)), Some("NTamd64.6.2"));
    // What is no decoration applies to nothing, and without an architecture only to x86.
    for wrong in ["", "N", "é", "aé", "NTarm64", "NTamd64.x", "NTamd64.6.1.3.0.0.0", "NTia64", "NT.6.1", "NT"]
    {
        assert_eq!(taken(&[wrong], &server(6, 1, 7601)), None, "{wrong}");
    }
}

#[test]
fn numbers_of_the_registry_in_every_form() {
    let inf = parsed(
        "[Manufacturer]\nm=M,NTamd64\n[M.NTamd64]\nd=I,x\n[I.NTamd64]\nAddReg=R\n[R]\nHKR,,a,0x10001,-1\n\
         HKR,,b,0x10001,78,56,34,12\nHKR,,c,65537\nHKR,,d,0x70001,aa\nHKXX,,e,,1\n",
    );
    let target = server(6, 1, 7601);
    let install = inf.install(&inf.models(&target).unwrap()[0], &target).unwrap();
    let data: Vec<RegistryData> = install.registry.into_iter().map(|value| value.data).collect();
    let number = RegistryData::Number;
    assert_eq!(data, [number(u32::MAX), number(0x1234_5678), number(0), RegistryData::Other(7, vec![0xaa])]);
}

#[test]
fn needs_that_go_in_circles_end() {
    let circle =
        "[Manufacturer]\nm=M,NTamd64\n[M.NTamd64]\nd=A,x\n[A]\nNeeds=B\n[B]\nNeeds=A,A.NTx\nCopyFiles=@x\n";
    let target = server(6, 1, 7601);
    let inf = parsed(circle);
    let install = inf.install(&inf.models(&target).unwrap()[0], &target).unwrap();
    assert_eq!((install.files.len(), install.needs), (1, vec!["A.NTx".to_owned()]));
    let chain: String = (0..100).map(|number| format!("[S{number}]\nNeeds=S{}\n", number + 1)).collect();
    let inf = parsed(&format!("[Manufacturer]\nm=M,NTamd64\n[M.NTamd64]\nd=S0,x\n{chain}"));
    let error = inf.install(&inf.models(&target).unwrap()[0], &target).unwrap_err();
    assert_eq!(error, InfError::Needs { name: "S0".to_owned() });
}
