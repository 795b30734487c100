//! Link cells and the bodies that are no relay cell.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cepa::internal::wire::cell_msg::fuzz_cell(bytes));
