//! `cepa-bench` on relays of C tor, and C tor as one whom it measures.

use std::process::Command;

/// What shows most: many streams through a client, and one after the other.
const WORKLOADS: [&str; 3] = ["cold-start", "first-byte", "bulk-down-8"];

pub fn the_suite_measures_us_beside_tor_on_relays_of_tor() {
    let results = std::env::temp_dir().join(format!("cepa-interop-suite-{}.json", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_cepa-bench"));
    command.args(["run", "--quick", "--repeats", "1", "--network", "ctor", "--subject", "cepa", "--subject", "tor"]);
    command.args(WORKLOADS.iter().flat_map(|workload| ["--workload", workload]));
    let output = command.arg("--json").arg(&results).output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complaint}");
    let text = std::fs::read_to_string(&results).unwrap();
    std::fs::remove_file(&results).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = value["rows"].as_array().unwrap();
    for (subject, workload) in ["cepa", "tor"].iter().flat_map(|subject| WORKLOADS.map(|workload| (subject, workload)))
    {
        let row = rows.iter().find(|row| row["subject"] == **subject && row["workload"] == workload);
        assert!(row.is_some_and(|row| row["median"].as_f64().unwrap() > 0.0), "{workload} of {subject}: {text}");
    }
    let ratios = value["ratios"].as_array().unwrap();
    assert!(ratios.iter().any(|ratio| ratio["subject"] == "tor" && ratio["to"] == "cepa"), "{text}");
}
