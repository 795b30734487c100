//! Which relays a circuit goes over: a [`Need`] goes in, a [`Path`] comes out.
//!
//! The last hop is chosen first, for what it must do; then the guard, of those that we keep
//! (`guards`); then what is between. Opens nothing, and knows no circuit: what is built ahead,
//! and which streams may share it, is for `client`, which calls this, as `onion` does by way
//! of it. How long building may take is `timeout`, how guards treat our circuits is `bias`.
//! Spec: path-spec; guard-spec. C tor: core/or/circuitbuild.c.

pub mod bias;
pub mod guards;
pub mod rules;
pub mod timeout;
pub mod weights;

use core::fmt;
use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use self::guards::{Candidates, Choice, Guards, Restriction, Scene, Usage, Wish};
use self::rules::{Avoided, Neighbour, NoWishes, Place, Quality, Rules, Target, may_leave, may_leave_somewhere};
use crate::base::error::{Blame, Scope};
use crate::base::random::Entropy;
use crate::base::time::Now;
use crate::base::{RelayIds, RsaId};
use crate::directory::consensus::Flag;
use crate::directory::weights::Position;
use crate::directory::{NetDir, NtorKey, Protocol, Protocols, Relay, RelayIndex, Share};

/// The most hops that a controller may ask for; ours. A circuit has no budget for more
/// RELAY_EARLY cells than this allows, one for each hop but the first.
pub const MAX_GIVEN: usize = 8;

/// Why there is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The consensus is too old, or of the future.
    DirectoryOld,
    /// Too few microdescriptors are here.
    NotEnoughDirectory,
    /// No exit lets these streams out.
    NoExit,
    /// No relay may be the last hop of an inner path.
    NoEnd,
    /// No guard can be used now.
    NoGuard,
    /// No relay may stand between.
    NoMiddle,
    /// A guard is not in the directory: it changed, and guards were not told.
    GuardsOutdated,
    /// A path was given that names a relay of which too little is known.
    UnknownRelay,
    /// A path was given that no circuit can have.
    PathMalformed,
}

impl Error {
    /// Who is at fault.
    pub fn blame(self) -> Blame {
        match self {
            Error::NotEnoughDirectory | Error::NoGuard | Error::NoMiddle | Error::NoEnd => Blame::Network,
            // Whose clock it is that is wrong cannot be told, but authorities have many.
            Error::DirectoryOld => Blame::Clock,
            Error::NoExit | Error::UnknownRelay | Error::PathMalformed => Blame::User,
            Error::GuardsOutdated => Blame::Bug,
        }
    }

    /// What falls.
    pub fn scope(self) -> Scope {
        match self {
            Error::DirectoryOld | Error::NotEnoughDirectory => Scope::Client,
            Error::NoExit => Scope::Stream,
            _ => Scope::Circuit,
        }
    }
}

/// What a path is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Streams leave from its last hop.
    Exit {
        /// To all of these. None if any exit will do, as for names to be resolved.
        targets: Vec<Target>,
        /// Whether they live long.
        is_stable: bool,
        /// What the exit must speak, as for conflux.
        speaks: Vec<(Protocol, u8)>,
        /// Exits that will not do; after all, summaries do not say everything.
        avoided: Arc<Avoided>,
    },
    /// Its last hop is any relay.
    Inner {
        /// Whether its streams live long.
        is_stable: bool,
        /// What the last hop must speak, as for onion services.
        speaks: Vec<(Protocol, u8)>,
    },
    /// Its last hop is that one.
    To {
        /// Who, which need not be in the directory.
        last: Box<Hop>,
        /// Whether somebody else named it: then there is one hop more, so that it does not
        /// learn our guard.
        is_foreign: bool,
        /// Whether its streams live long.
        is_stable: bool,
        /// Relays that are on a path that will serve the same streams.
        avoided: Arc<Avoided>,
    },
    /// One hop, of which to ask for the directory.
    Directory {
        /// Those that did not have what the consensus names.
        outdated: Arc<Avoided>,
    },
    /// These hops, whatever the rules; as a controller says it.
    Given(Vec<RsaId>),
}

/// One relay of a path. Its numbers are those of one directory; the rest holds on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Its number in the directory, if it is in it.
    pub index: Option<RelayIndex>,
    /// Who it must prove to be.
    pub ids: RelayIds,
    /// Its address.
    pub ipv4: Option<SocketAddrV4>,
    /// Its address of IPv6.
    pub ipv6: Option<SocketAddrV6>,
    /// Its key for the handshake; without one it can be a single hop only.
    pub ntor: Option<NtorKey>,
    /// What it speaks.
    pub protocols: Protocols,
}

/// Says nothing: a guard's address would tell where the user is.
impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hop").finish_non_exhaustive()
    }
}

impl Hop {
    /// A relay of the directory.
    pub fn of(relay: &Relay<'_>) -> Hop {
        Hop {
            index: Some(relay.index()),
            ids: relay.ids(),
            ipv4: Some(relay.ipv4()),
            ipv6: relay.ipv6(),
            ntor: relay.ntor_key(),
            protocols: relay.protocols(),
        }
    }
}

/// What a circuit is to go over.
#[derive(Clone, PartialEq, Eq)]
pub struct Path {
    /// From the first to the last; never empty.
    pub hops: Vec<Hop>,
    /// Where to connect to the first.
    pub address: SocketAddr,
    /// The guard that it uses, whose fate is to be reported; none if it is no guard's.
    pub guard: Option<Choice>,
    /// What the guard had to obey.
    pub restriction: Option<Restriction>,
}

/// Says only how long it is.
impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Path").field("hops", &self.hops.len()).finish_non_exhaustive()
    }
}

/// All that a choice depends on.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Who is there.
    pub dir: &'a NetDir,
    /// Who may be used.
    pub rules: Rules<'a>,
    /// Guards that treated our circuits so badly that they are not used: [`bias::PathBias::dropped`].
    pub dropped: &'a Avoided,
    /// How many guards the user wants.
    pub wish: Wish,
    /// Whether circuits begin with guards. C tor: `UseEntryGuards`.
    pub uses_guards: bool,
    /// Which share of all paths must be known, if the user says.
    pub paths_needed: Option<f64>,
    /// The name and version of this program, for the state file.
    pub program: &'a str,
    /// The time.
    pub now: Now,
}

/// Who may be a guard. C tor: feature/client/entrynodes.c.
impl Candidates for View<'_> {
    fn is_recent(&self) -> bool {
        self.dir.consensus().lifetime().is_reasonably_live(self.now.wall)
    }

    fn eligible(&self) -> Vec<(RsaId, u64)> {
        let weights = self.dir.weights_at(Position::Guard);
        let relays = self.dir.relays().filter(|relay| self.rules.may_be_guard(relay));
        relays.map(|relay| (relay.rsa_id(), weights.of(relay.flags(), relay.bandwidth()))).collect()
    }

    fn is_listed(&self, id: &RsaId) -> bool {
        self.dir.by_rsa_id(id).is_some_and(|relay| self.rules.may_be_guard(&relay))
    }

    fn is_allowed(&self, id: &RsaId) -> bool {
        !self.dropped.contains(id) && self.dir.by_rsa_id(id).is_some_and(|relay| self.rules.is_guard_allowed(&relay))
    }

    fn has_descriptor(&self, id: &RsaId) -> bool {
        self.dir.by_rsa_id(id).is_some_and(|relay| relay.ntor_key().is_some())
    }

    fn nickname(&self, id: &RsaId) -> &str {
        self.dir.by_rsa_id(id).map_or("", |relay| relay.nickname())
    }
}

impl<'a> View<'a> {
    /// The same for the guards.
    pub fn scene(&self) -> Scene<'_> {
        let params = self.dir.consensus().params();
        Scene { candidates: self, params, wish: self.wish, program: self.program, now: self.now }
    }

    /// Whether enough is known to build circuits of many hops. This walks the whole directory;
    /// its answer holds until that or the day changes.
    pub fn check(&self, guards: &Guards) -> Result<(), Error> {
        if !self.is_recent() {
            return Err(Error::DirectoryOld);
        }
        let is_enough = self.share().is_enough(self.dir.consensus().params(), self.paths_needed);
        let lacks_guard = self.uses_guards && guards.lacks_descriptor(self.scene());
        if is_enough && !lacks_guard { Ok(()) } else { Err(Error::NotEnoughDirectory) }
    }

    /// What share of the paths that may be built can be built. C tor: `compute_frac_paths_available`;
    /// of the exits that the user wants as much must be known as of all, so that no directory finds
    /// out which those are by what it gives first.
    fn share(&self) -> Share {
        let wishes = self.rules.wishes;
        let wanted = |place: Place, counts: &dyn Fn(&Relay<'_>) -> bool| {
            let may = |relay: &Relay<'_>| wishes.allows(relay, place) && counts(relay);
            self.dir.share_of(place.position(), may)
        };
        let mut share = self.dir.share();
        if wishes.are_few(Place::Guard) {
            share.guard = wanted(Place::Guard, &|_| true);
        }
        if wishes.are_few(Place::Middle) {
            share.middle = wanted(Place::Middle, &|_| true);
        }
        if wishes.are_few(Place::Exit) {
            let lets_out = |relay: &Relay<'_>| !relay.has_microdesc() || may_leave_somewhere(relay);
            share.exit = share.exit.min(wanted(Place::Exit, &lets_out));
        }
        share
    }

    /// A place where the user's lists leave nobody, though all is known of everybody.
    pub fn without(&self) -> Option<Place> {
        let is_there = |place| {
            let mut all = self.dir.relays();
            all.any(|relay| self.rules.is_fit(&relay, place, Quality::default()))
        };
        let is_known = self.dir.missing_count() == 0;
        let anybody = Rules { wishes: &NoWishes, ..self.rules };
        let is_theirs = |place| self.dir.relays().any(|relay| anybody.is_fit(&relay, place, Quality::default()));
        Place::ALL.into_iter().find(|place| is_known && !is_there(*place) && is_theirs(*place))
    }

    /// Of those that may be guards, how many the user lets us use, and how many there are.
    pub fn guards_allowed(&self) -> (usize, usize) {
        let all: Vec<_> = self.dir.relays().filter(|relay| self.rules.may_be_guard(relay)).collect();
        (all.iter().filter(|relay| self.rules.is_guard_allowed(relay)).count(), all.len())
    }

    /// A path for a need. `guards` must have been updated with this view; what becomes of the
    /// one that is chosen must be reported to it.
    pub fn pick(&self, need: &Need, guards: &mut Guards, entropy: &mut dyn Entropy) -> Result<Path, Error> {
        match need {
            Need::Exit { targets, is_stable, speaks, avoided } => {
                let quality = Quality { is_fast: true, is_stable: *is_stable };
                let serves = |relay: &Relay<'_>| {
                    !avoided.contains(&relay.rsa_id())
                        && targets.iter().all(|target| may_leave(relay, *target))
                        && does_speak(relay, speaks)
                };
                let exit = self.draw(Place::Exit, quality, serves, entropy).ok_or(Error::NoExit)?;
                self.lead_to(exit, 1, quality, &Avoided::new(), guards, entropy)
            }
            Need::Inner { is_stable, speaks } => {
                let quality = Quality { is_fast: true, is_stable: *is_stable };
                let serves = |relay: &Relay<'_>| does_speak(relay, speaks);
                let last = self.draw(Place::Inner, quality, serves, entropy).ok_or(Error::NoEnd)?;
                self.lead_to(last, 1, quality, &Avoided::new(), guards, entropy)
            }
            Need::To { last, is_foreign, is_stable, avoided } => {
                let quality = Quality { is_fast: true, is_stable: *is_stable };
                self.lead_to(**last, 1 + usize::from(*is_foreign), quality, avoided, guards, entropy)
            }
            Need::Directory { outdated } => self.of_directory(outdated, guards, entropy),
            Need::Given(ids) => self.given(ids),
        }
    }

    /// A guard, and so many relays between it and the last hop.
    fn lead_to(
        &self,
        last: Hop,
        between: usize,
        quality: Quality,
        avoided: &Avoided,
        guards: &mut Guards,
        entropy: &mut dyn Entropy,
    ) -> Result<Path, Error> {
        if !self.uses_guards {
            let first = self.entry(&last, quality, avoided, entropy).ok_or(Error::NoGuard)?;
            return self.over(first, None, last, between, quality, avoided, entropy);
        }
        let restriction = Some(Restriction::Path(Arc::new(self.guards_beside(&last, avoided))));
        let choice =
            guards.choose(Usage::Traffic, restriction.as_ref(), self.scene(), entropy).ok_or(Error::NoGuard)?;
        let guard = self.dir.by_rsa_id(&choice.id).map(|guard| Hop::of(&guard)).ok_or(Error::GuardsOutdated);
        let path = guard.and_then(|first| self.over(first, Some(choice), last, between, quality, avoided, entropy));
        if path.is_err() {
            guards.on_cancelled(&choice.id);
        }
        Ok(Path { restriction, ..path? })
    }

    /// A first hop that is no guard of ours, for who wants none. C tor: `choose_good_entry_server`.
    fn entry(&self, last: &Hop, quality: Quality, avoided: &Avoided, entropy: &mut dyn Entropy) -> Option<Hop> {
        let last = Neighbour::new(last, self.dir);
        let may = |relay: &Relay<'_>| {
            self.rules.is_guard_allowed(relay)
                && !last.is_related(relay, self.dir, &self.rules)
                && !avoided.contains(&relay.rsa_id())
        };
        self.draw(Place::Guard, quality, may, entropy)
    }

    #[expect(clippy::too_many_arguments, reason = "what a path is made of")]
    fn over(
        &self,
        first: Hop,
        guard: Option<Choice>,
        last: Hop,
        between: usize,
        quality: Quality,
        avoided: &Avoided,
        entropy: &mut dyn Entropy,
    ) -> Result<Path, Error> {
        let address = self.rules.address(first.ipv4, first.ipv6).ok_or(Error::GuardsOutdated)?;
        let mut hops = vec![first];
        for _ in 0..between {
            let middle = self.middle(&hops, &last, quality, avoided, entropy).ok_or(Error::NoMiddle)?;
            hops.push(middle);
        }
        hops.push(last);
        Ok(Path { hops, address, guard, restriction: None })
    }

    fn middle(
        &self,
        hops: &[Hop],
        last: &Hop,
        quality: Quality,
        avoided: &Avoided,
        entropy: &mut dyn Entropy,
    ) -> Option<Hop> {
        let others: Vec<_> = hops.iter().chain([last]).map(|hop| Neighbour::new(hop, self.dir)).collect();
        let may = |relay: &Relay<'_>| {
            !others.iter().any(|other| other.is_related(relay, self.dir, &self.rules))
                && !avoided.contains(&relay.rsa_id())
        };
        self.draw(Place::Middle, quality, may, entropy)
    }

    /// Guards that may not lead to that hop. Nobody else is looked for, as guards are drawn
    /// from nobody else.
    fn guards_beside(&self, last: &Hop, avoided: &Avoided) -> Avoided {
        let last = Neighbour::new(last, self.dir);
        let guards = self.dir.relays().filter(|relay| self.rules.may_be_guard(relay));
        let related = guards.filter(|relay| last.is_related(relay, self.dir, &self.rules));
        related.map(|relay| relay.rsa_id()).chain(avoided.iter().copied()).collect()
    }

    fn draw(
        &self,
        place: Place,
        quality: Quality,
        may: impl Fn(&Relay<'_>) -> bool,
        entropy: &mut dyn Entropy,
    ) -> Option<Hop> {
        // C tor: rather than none, one that is not as good.
        let drawn = [quality, Quality::default()].into_iter().find_map(|quality| {
            let may = |relay: &Relay<'_>| self.rules.is_fit(relay, place, quality) && may(relay);
            weights::draw(self.dir, place.position(), may, entropy)
        });
        drawn.and_then(|index| self.dir.relay(index)).map(|relay| Hop::of(&relay))
    }

    fn of_directory(
        &self,
        outdated: &Arc<Avoided>,
        guards: &mut Guards,
        entropy: &mut dyn Entropy,
    ) -> Result<Path, Error> {
        if !self.uses_guards {
            return self.of_any_directory(outdated, entropy);
        }
        let restriction = (!outdated.is_empty()).then(|| Restriction::Outdated(Arc::clone(outdated)));
        let choice =
            guards.choose(Usage::Directory, restriction.as_ref(), self.scene(), entropy).ok_or(Error::NoGuard)?;
        let guard = self.dir.by_rsa_id(&choice.id);
        let found = guard.and_then(|guard| Some((guard, self.rules.address(Some(guard.ipv4()), guard.ipv6())?)));
        let Some((guard, address)) = found else {
            guards.on_cancelled(&choice.id);
            return Err(Error::GuardsOutdated);
        };
        Ok(Path { hops: vec![Hop::of(&guard)], address, guard: Some(choice), restriction })
    }

    /// Any relay that has the directory. C tor: `router_pick_directory_server`.
    fn of_any_directory(&self, outdated: &Avoided, entropy: &mut dyn Entropy) -> Result<Path, Error> {
        let may = |relay: &Relay<'_>| {
            relay.flags().has(Flag::V2Dir)
                && relay.flags().has(Flag::Running)
                && self.rules.is_guard_allowed(relay)
                && !outdated.contains(&relay.rsa_id())
        };
        let drawn = weights::draw(self.dir, Position::Directory, may, entropy);
        let relay = drawn.and_then(|index| self.dir.relay(index)).ok_or(Error::NoGuard)?;
        let address = self.rules.address(Some(relay.ipv4()), relay.ipv6()).ok_or(Error::NoGuard)?;
        Ok(Path { hops: vec![Hop::of(&relay)], address, guard: None, restriction: None })
    }

    fn given(&self, ids: &[RsaId]) -> Result<Path, Error> {
        let repeats = ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
        if ids.is_empty() || ids.len() > MAX_GIVEN || repeats {
            return Err(Error::PathMalformed);
        }
        let hop = |id: &RsaId| self.dir.by_rsa_id(id).filter(|relay| relay.ntor_key().is_some());
        let hops: Option<Vec<Hop>> = ids.iter().map(|id| hop(id).map(|relay| Hop::of(&relay))).collect();
        let hops = hops.ok_or(Error::UnknownRelay)?;
        let address = hops.first().and_then(|hop| self.rules.address(hop.ipv4, hop.ipv6));
        Ok(Path { address: address.ok_or(Error::PathMalformed)?, hops, guard: None, restriction: None })
    }
}

fn does_speak(relay: &Relay<'_>, speaks: &[(Protocol, u8)]) -> bool {
    speaks.is_empty() || {
        let protocols = relay.protocols();
        speaks.iter().all(|(protocol, version)| protocols.supports(*protocol, *version))
    }
}

#[cfg(test)]
mod tests;
