//! What a client makes of every villain of the lab: what falls, what is tried again and how
//! its user fares, what is counted.
//!
//! A chapter for each of the places where a villain may stand, and a test for each villain.
//! Which error the machine names is in `tunnel_villains.rs` for circuits and streams, which is
//! asked first, and here for links and directories. What shows that each of these tests would notice is in `tests/mutations/`.

mod authorities;
mod circuits;
mod directories;
mod links;
mod streams;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::client::circuits::Circuit;
use cepa::internal::client::junction::TunnelNo;
use cepa::internal::client::{RequestNo, Wish};
use cepa::internal::path::guards::sample::BIAS_NAMES;
use cepa::lab::cache::Cache;
use cepa::lab::network::{Network, RelayFacts, RelayNo, Role};
use cepa::lab::villain::Villain;

use super::client::{Shell, Told, connect, directory_network, honest, resolve, setup_with};
use super::{seed, tunnel_villains};

const MINUTE: Duration = Duration::from_secs(60);
/// More than enough for what nothing holds up.
const SECONDS: Duration = Duration::from_secs(5);
/// One guard, so that there is no getting round it; and no exit may find what only a network
/// of tests has.
const SETUP: &str = "NumEntryGuards 1\nClientDNSRejectInternalAddresses 1";
/// What is fetched where nothing else is said, and what it has.
const PAGE: &str = "source-20000.lab";
const PAGE_LEN: usize = 20_000;

/// Which test tells what becomes of it. A villain that has none here does not compile.
fn answer_to(villain: Villain) -> fn() {
    use Villain as V;
    match villain {
        V::WrongIdentity => links::a_guard_that_proves_another_identity_is_left,
        V::ExpiredCertificates => links::a_guard_with_certificates_of_yesterday_is_left,
        V::CertsAfterChallenge => links::a_guard_that_is_challenged_before_it_is_proved_is_left,
        V::NoAuthChallenge => links::a_guard_that_leaves_out_a_step_is_left,
        V::TwoNetinfos => links::a_guard_that_says_a_step_twice_is_left,
        V::NoCommonVersion => links::a_guard_of_another_age_is_left,
        V::PaddingInHandshake => links::a_guard_that_pads_a_handshake_is_left,
        V::EndlessVpadding => links::a_guard_whose_handshake_has_no_end_is_left,
        V::StallBeforeVersions => links::a_guard_that_says_nothing_is_left_after_a_minute,
        V::StallBeforeCerts => links::a_guard_that_falls_silent_unproved_is_left_after_a_minute,
        V::StallBeforeNetinfo => links::a_guard_that_falls_silent_proved_is_left_after_a_minute,
        V::Trickle => links::a_guard_that_trickles_is_left_after_a_minute,
        V::UnknownCircuit => links::a_guard_that_speaks_of_no_circuit_is_left,
        V::CreateToClient => links::a_guard_that_opens_a_circuit_to_us_is_left,
        V::PaddingNegotiateToClient => links::a_guard_that_tells_us_how_to_pad_is_left,
        V::SwallowsCircuits => links::a_guard_that_answers_no_circuit_is_left_after_a_minute,
        V::RelayEarlyToClient => links::a_guard_that_marks_a_circuit_is_left,
        V::EarlyDestroy => circuits::a_guard_that_destroys_every_circuit_is_kept_and_not_hurried,
        V::DropsCells => circuits::a_guard_that_drops_cells_breaks_what_it_touches,
        V::ReplaysCells => circuits::a_guard_that_replays_cells_breaks_what_it_touches,
        V::TagsCells => circuits::a_guard_that_tags_cells_breaks_what_it_touches,
        V::BadCreatedAuth => circuits::a_relay_that_has_not_the_keys_is_gone_round,
        V::CreatedTooLong => circuits::a_relay_that_lies_of_a_length_is_gone_round,
        V::WrongDigest => circuits::a_message_that_nobody_sealed_fells_its_circuit,
        V::GarbageCommand => circuits::a_command_that_nobody_defined_fells_its_circuit,
        V::DropFlood => circuits::padding_that_nobody_asked_for_fells_its_circuit,
        V::TruncatedUnasked => circuits::a_circuit_that_is_cut_is_over,
        V::ExtendedUnasked => circuits::an_extension_that_nobody_asked_for_fells_its_circuit,
        V::SendmeFlood => circuits::a_sendme_for_nothing_fells_its_circuit,
        V::SendmeWithoutTag => circuits::a_sendme_without_proof_fells_its_circuit,
        V::SendmeWrongTag => circuits::a_sendme_with_a_wrong_proof_fells_its_circuit,
        V::WindowOverrun => circuits::a_window_that_is_overrun_fells_its_circuit,
        V::DataBeforeConnected => streams::data_before_connected_is_tried_elsewhere,
        V::DataAfterEnd => streams::data_after_the_end_fells_the_circuit_and_spoils_nothing,
        V::EndTwice => streams::a_second_end_fells_the_circuit_and_spoils_nothing,
        V::ConnectedTwice => streams::a_stream_that_is_opened_twice_is_cut_off,
        V::EmptyData => streams::data_of_no_bytes_cuts_its_stream_off,
        V::EndWithoutReason => streams::an_end_without_a_reason_is_no_clean_end,
        V::StallMidStream => streams::a_stream_that_stalls_is_its_programs_to_give_up,
        V::ConnectedPrivate => streams::a_private_address_is_believed_of_no_exit,
        V::ResolvedPrivate => streams::a_private_answer_is_believed_of_no_exit,
        V::ResolvedFlood => streams::the_first_answer_counts_and_more_fell_the_circuit,
        V::EndlessDirectory => directories::an_answer_without_end_is_left,
        V::DecompressionBomb => directories::a_bomb_is_left_before_it_is_large,
        V::TruncatedConsensus => directories::half_a_consensus_is_none,
        V::ConsensusSwap => directories::a_consensus_that_others_signed_is_none,
        V::FalseDiff => directories::a_diff_that_lies_changes_nothing,
        V::FalseCertificates => directories::a_certificate_that_nobody_signed_is_none,
        V::NotModified => directories::certificates_that_have_not_changed_are_none,
        V::OldConsensus => directories::a_consensus_of_days_ago_is_one_directorys_word,
    }
}

#[test]
fn every_villain_is_answered_by_a_test_of_its_own() {
    let all: Vec<_> = Villain::all().collect();
    for (villain, name, _) in &all {
        let its = all.iter().filter(|(other, ..)| std::ptr::fn_addr_eq(answer_to(*other), answer_to(*villain)));
        assert_eq!(its.count(), 1, "{name}");
    }
}

/// Where a villain stands.
#[derive(Clone, Copy)]
enum Place {
    Directory,
    Guard,
    Middle,
    Exit,
}

/// Whom a client of an honest network meets: whom it asks first, and whom its first stream goes
/// over. In the same network with a villain it meets the same, until the villain shows.
#[derive(Clone, Copy)]
struct Cast {
    seed: u64,
    places: [usize; 4],
}

impl Cast {
    /// Of one who wants a stream, or of one who looks something up.
    fn of(is_lookup: bool) -> Cast {
        static CASTS: [OnceLock<Cast>; 2] = [const { OnceLock::new() }; 2];
        // A guard that is an authority too would be met as that.
        let serves = |cast: &Cast| cast.places[Place::Guard as usize] > 2;
        let find = || (seed()..).map(|seed| Cast::see(seed, is_lookup)).find(serves).unwrap();
        *CASTS[usize::from(is_lookup)].get_or_init(find)
    }

    fn see(seed: u64, is_lookup: bool) -> Cast {
        let mut meeting = Meeting::set(Cast { seed, places: [usize::MAX; 4] }, None, Place::Guard);
        assert!(meeting.shell.bootstrap(&mut meeting.network));
        let no = meeting.request(if is_lookup { resolve("echo.lab") } else { connect(PAGE, "first") });
        let tunnel = meeting.tunnel_of(no);
        let Meeting { network, shell, .. } = meeting;
        let ids: Vec<RsaId> = network.relays().map(|relay| network.facts(relay).rsa).collect();
        let place_of = |id: Option<RsaId>| ids.iter().position(|other| Some(*other) == id).unwrap();
        let hops = &shell.client.pool().get(tunnel).unwrap().path.hops;
        let [guard, middle, exit] = [0, 1, 2].map(|hop: usize| place_of(hops[hop].ids.rsa));
        let directory = place_of(network.facts_of(shell.dialled[0]).map(|facts| facts.rsa));
        Cast { seed, places: [directory, guard, middle, exit] }
    }
}

/// A client, and a network with one villain.
struct Meeting {
    network: Network,
    shell: Shell,
    villain: RelayFacts,
    /// What all directories know, but for the villain.
    cache: Arc<Cache>,
}

impl Meeting {
    /// One that begins with a look-up if it is told so, and else with a stream.
    fn of(villain: Villain, place: Place, is_lookup: bool) -> Meeting {
        tunnel_villains::is_named(villain);
        Meeting::set(Cast::of(is_lookup), Some(villain), place)
    }

    fn set(cast: Cast, villain: Option<Villain>, place: Place) -> Meeting {
        let number = cast.places[place as usize];
        let role = |relay| Role { villain: villain.filter(|_| relay == number), ..honest(relay) };
        let (mut network, relays, cache) = directory_network(cast.seed, role);
        let shell = Shell::start(&mut network, setup_with(&cache, SETUP));
        let villain = *network.facts(relays.get(number).copied().unwrap_or(relays[0]));
        Meeting { network, shell, villain, cache }
    }

    /// The same, which knows enough to build circuits.
    fn ready(mut self) -> Meeting {
        assert!(self.shell.bootstrap(&mut self.network));
        self
    }

    // --- what a program does -------------------------------------------------------------

    fn request(&mut self, wish: Wish) -> RequestNo {
        self.shell.request(&mut self.network, wish)
    }

    /// Fetches a page, in so much time.
    fn fetch(&mut self, user: &str, limit: Duration) -> Told {
        self.shell.serve(&mut self.network, connect(PAGE, user), limit)
    }

    /// Reads until it is over, or for some seconds.
    fn outcome(&mut self, no: RequestNo) -> Told {
        self.shell.run_until(&mut self.network, SECONDS, |shell| shell.requests[&no].is_over());
        self.shell.requests[&no].clone()
    }

    fn wait(&mut self, time: Duration) {
        self.shell.run_until(&mut self.network, time, |_| false);
    }

    // --- what is seen of the client ------------------------------------------------------

    /// The villain, as the network calls it.
    fn number(&self) -> RelayNo {
        self.network.relays().find(|relay| self.network.facts(*relay).rsa == self.villain.rsa).unwrap()
    }

    /// The tunnel that a request goes out by.
    fn tunnel_of(&mut self, no: RequestNo) -> TunnelNo {
        let at = |shell: &Shell| shell.client.streams().get(no).and_then(|request| request.at());
        assert!(self.shell.run_until(&mut self.network, SECONDS, |shell| at(shell).is_some()));
        at(&self.shell).unwrap().0
    }

    fn circuit(&self, tunnel: TunnelNo) -> Option<&Circuit> {
        self.shell.client.pool().get(tunnel)
    }

    /// Whether circuits of the client go over the villain, as hop of that number.
    fn uses_villain(&self, hop: usize) -> bool {
        let is_it =
            |circuit: &Circuit| circuit.path.hops.get(hop).is_some_and(|hop| hop.ids.rsa == Some(self.villain.rsa));
        self.shell.client.pool().iter().any(|(_, circuit)| is_it(circuit))
    }

    /// Whether the villain is left alone, as a guard that fails.
    fn is_down(&self) -> bool {
        self.shell.client.pool().guards.is_down(&self.villain.rsa)
    }

    /// How often the villain was dialled, and how often its connection was closed.
    fn dials(&self) -> (usize, usize) {
        let count = |all: &[SocketAddr]| all.iter().filter(|to| **to == self.villain.address).count();
        (count(&self.shell.dialled), count(&self.shell.hung_up))
    }

    /// What is counted of a guard: by the name that the state file has for it.
    fn count(&self, guard: RsaId, name: &str) -> f64 {
        let mut records = self.shell.client.pool().guards.records();
        let place = BIAS_NAMES.iter().position(|known| *known == name).unwrap();
        records.find(|record| record.id == guard).map_or(0.0, |record| record.bias.0[place])
    }

    /// The same of the guard that a circuit went over.
    fn guard_of(&self, tunnel: TunnelNo) -> RsaId {
        self.circuit(tunnel).and_then(|circuit| circuit.path.hops[0].ids.rsa).unwrap()
    }
}

/// It got all of the page, and that it was all.
fn assert_served(told: &Told) {
    assert_eq!((told.read.len(), told.end, told.failure), (PAGE_LEN, Some(true), None));
}
