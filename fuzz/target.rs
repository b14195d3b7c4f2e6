use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use replant_fuzz::{Numbers, target};

/// Each binary is the target of its name.
const NAME: &str = env!("CARGO_BIN_NAME");

fuzz_target!(|data: &[u8]| {
    if let Some(target) = target(NAME) {
        target.run(data);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut numbers = Numbers::new(u64::from(seed));
    match target(NAME) {
        // libFuzzer's own ways know which comparisons failed; ours know what an input is.
        Some(target) if numbers.below(2) == 0 => target.mutate(&mut data[..max_size], size, &mut numbers),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
