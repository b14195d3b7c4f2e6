//! Every line of the packages as Wine's setupapi reads it, which is not ours.

use std::fs;

use replant::guest::windows::inf::Inf;

use super::super::super::fixtures::shell;
use super::packages::{NETWORK, STORAGE};

/// Lines that setup files have in the wild.
const ODD: &str = "; comment\r\n[Version]\r\nSignature=\"$CHICAGO$\"\r\n\r\n[ODD]\r\n  Key  =  a  b ,\"c\" , d\r\nalone\r\n\"quoted key\"=1\r\n\
    x=\"a\"\"b\",\"\"\"\",\"\"\r\ny=one,\\\r\n  two,\\ ; comment\r\n  three\r\nz=\"C:\\dir\\\"\\\r\n,file\r\nw=C:\\dir\\\\\r\n,file\r\n\
    %tok% = %tok%%tok%, \"%tok%;\", %%tok%%, 50%%\r\nlist=,,a,\r\n[odd]\r\nlast = \"open, quote\r\n[Other]trailing\r\na=b=c\r\n\
    q = pre\"in, side\"post\r\n[Strings]\r\ntok = \"t,o;k\"\r\nbare = no quotes here ; comment\r\n";

#[test]
fn every_line_is_what_setupapi_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Which language Wine speaks is the machine's affair.
    let plain = |text: &str| {
        let (before, _) = text.split_once("[Strings.04").unwrap_or((text, ""));
        before.as_bytes().to_vec()
    };
    let wide = |text: &str| {
        let units = text.replace('\n', "\r\n");
        [0xff, 0xfe].into_iter().chain(units.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
    };
    let umlauts = NETWORK.replace("Elastic test adapter", "Prüfgerät für Netze");
    let files = [
        ("storage.inf", plain(STORAGE)),
        ("network.inf", plain(NETWORK)),
        ("wide.inf", wide(&umlauts)),
        ("odd.inf", ODD.as_bytes().to_vec()),
    ];
    let mut commands = String::new();
    for (name, content) in &files {
        fs::write(path.join(name), content).unwrap();
        commands += &format!(" && wine setupapi.exe {name} {name}.out");
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/guest/windows/drivers/setupapi.c");
    shell(&format!(
        "cd {} && export WINEPREFIX=$PWD/prefix WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml=' HOME=$PWD && \
         x86_64-w64-mingw32-gcc -municode -O1 -o setupapi.exe {source} -lsetupapi {commands} && wineserver -w",
        path.display()
    ));
    for (name, content) in &files {
        let theirs = fs::read_to_string(path.join(format!("{name}.out"))).unwrap();
        let theirs: Vec<String> = theirs.split_terminator('\u{1e}').map(str::to_owned).collect();
        assert!(theirs.len() > 15, "{name}: {theirs:?}");
        assert_eq!(ours(content), theirs, "{name}");
    }
}

/// Our lines in the same form: section, key, values, with strings and directories put in.
fn ours(content: &[u8]) -> Vec<String> {
    let inf = Inf::parse(content).unwrap();
    let expanded = |text: &str| {
        let text = inf.expand(text);
        text.replace("%12%", "C:\\windows\\system32\\drivers")
            .replace("%13%", "C:\\windows\\system32\\unknown")
    };
    let mut lines = Vec::new();
    for section in inf.sections() {
        for line in &section.lines {
            let key = line.key.as_deref().map(expanded);
            // A line of one value has it for its key too.
            let key = key.unwrap_or_else(|| {
                if line.values.len() == 1 { expanded(line.value(0)) } else { String::new() }
            });
            let fields = [section.name.clone(), key]
                .into_iter()
                .chain(line.values.iter().map(|value| expanded(value)));
            lines.push(fields.collect::<Vec<_>>().join("\u{1f}"));
        }
    }
    lines
}
