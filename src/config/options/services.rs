//! Options of onion services, for those who offer them and for those who visit them.
//!
//! Called by `mod.rs`. Spec: tor(1), "HIDDEN SERVICE OPTIONS". C tor: feature/hs/hs_options.inc
//! for what each line of a service may be.

use super::Kind::{Choice, Each, File, Lines, Number, Relays, Truth};
use super::{Entry, Kind, SIZE, kept, refused};

const SERVICES: &str = "there are no onion services yet";
const RELAY: &str = "cepa is never a relay";
const TRUTHS: Kind = Each(&Truth);
const NUMBERS: Kind = Each(&Number(0, 0x7FFF_FFFF));

pub static ENTRIES: &[Entry] = &[
    kept("ClientOnionAuthDir", File, "", "where the keys to closed services are", SERVICES),
    kept("CompiledProofOfWorkHash", Choice, "auto", "compile the puzzles of services", SERVICES),
    kept("FetchHidServDescriptors", Truth, "1", "fetch what services say of themselves", SERVICES),
    refused("HiddenServiceAllowUnknownPorts", TRUTHS, "", "do not mind visitors of other ports", SERVICES),
    refused("HiddenServiceDir", Lines, "", "a service, and where its keys are", SERVICES),
    refused("HiddenServiceDirGroupReadable", TRUTHS, "", "let the group read its HiddenServiceDir", SERVICES),
    refused("HiddenServiceEnableIntroDoSBurstPerSec", NUMBERS, "", "how many visitors may come at once", SERVICES),
    refused("HiddenServiceEnableIntroDoSDefense", TRUTHS, "", "let relays keep visitors away", SERVICES),
    refused("HiddenServiceEnableIntroDoSRatePerSec", NUMBERS, "", "how many visitors may come in a second", SERVICES),
    refused("HiddenServiceExportCircuitID", Lines, "", "tell the server by which circuit one comes", SERVICES),
    refused("HiddenServiceMaxStreams", NUMBERS, "", "how many streams a visitor may have", SERVICES),
    refused("HiddenServiceMaxStreamsCloseCircuit", TRUTHS, "", "part with one who wants more", SERVICES),
    refused("HiddenServiceNonAnonymousMode", Truth, "0", "offer services that everybody may find", SERVICES),
    refused("HiddenServiceNumIntroductionPoints", NUMBERS, "", "how many relays know of a service", SERVICES),
    refused("HiddenServiceOnionBalanceInstance", TRUTHS, "", "be one of several of a service", SERVICES),
    refused("HiddenServicePort", Lines, "", "a port of a service, and what is there", SERVICES),
    refused("HiddenServicePoWDefensesEnabled", TRUTHS, "", "let visitors solve puzzles", SERVICES),
    refused("HiddenServicePoWQueueBurst", NUMBERS, "", "how many of them are let in at once", SERVICES),
    refused("HiddenServicePoWQueueRate", NUMBERS, "", "how many of them are let in in a second", SERVICES),
    refused("HiddenServiceSingleHopMode", Truth, "0", "offer services over one hop", SERVICES),
    kept("HiddenServiceStatistics", Truth, "1", "count services as a relay", RELAY),
    refused("HiddenServiceVersion", Lines, "", "which kind of service it is", SERVICES),
    refused("HSLayer2Nodes", Relays, "", "second relays of circuits to services", SERVICES),
    refused("HSLayer3Nodes", Relays, "", "third relays of circuits to services", SERVICES),
    kept("MaxHSDirCacheBytes", SIZE, "0", "how much of services to keep as a relay", RELAY),
    kept("PublishHidServDescriptors", Truth, "1", "tell where our services are", SERVICES),
    kept("VanguardsLiteEnabled", Choice, "auto", "keep to a few second relays for services", SERVICES),
];
