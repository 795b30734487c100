//! After C tor's src/test/test_entrynodes.c, whose network has 271 relays, every second one
//! a guard. The name of its test is over each of ours.

use super::*;
use crate::base::random::Seeded;
use crate::base::time::Wall;

const GUARDS: u8 = 136;

/// A directory in which each guard is as heavy as the others.
struct Net {
    listed: BTreeSet<RsaId>,
    refused: BTreeSet<RsaId>,
    bare: BTreeSet<RsaId>,
    is_recent: bool,
}

impl Candidates for Net {
    fn is_recent(&self) -> bool {
        self.is_recent
    }

    fn eligible(&self) -> Vec<(RsaId, u64)> {
        self.listed.iter().map(|id| (*id, 1000)).collect()
    }

    fn is_listed(&self, id: &RsaId) -> bool {
        self.listed.contains(id)
    }

    fn is_allowed(&self, id: &RsaId) -> bool {
        !self.refused.contains(id)
    }

    fn has_descriptor(&self, id: &RsaId) -> bool {
        !self.bare.contains(id)
    }

    fn nickname(&self, _: &RsaId) -> &str {
        "guard"
    }
}

/// Guards on that network, at a time.
struct World {
    net: Net,
    params: Params,
    wish: Wish,
    now: Now,
    entropy: Seeded,
    guards: Guards,
}

fn id(number: u8) -> RsaId {
    RsaId([number; 20])
}

fn world_of(guards: u8) -> World {
    let net =
        Net { listed: (0..guards).map(id).collect(), refused: BTreeSet::new(), bare: BTreeSet::new(), is_recent: true };
    let now = Now { tick: Tick::new(days(1)), wall: Wall::from_secs(1_780_000_000) };
    let (params, wish, entropy) = (Params::default(), Wish::default(), Seeded(11));
    let mut world = World { net, params, wish, now, entropy, guards: Guards::new() };
    world.update();
    world
}

fn world() -> World {
    world_of(GUARDS)
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

impl World {
    /// Calls something of the guards with all it depends on.
    fn with<T>(&mut self, call: impl FnOnce(&mut Guards, Scene<'_>, &mut dyn Entropy) -> T) -> T {
        let World { net, params, wish, now, entropy, guards } = self;
        call(guards, Scene { candidates: net, params, wish: *wish, program: "test", now: *now }, entropy)
    }

    fn update(&mut self) {
        self.with(|guards, scene, entropy| guards.update(scene, entropy));
    }

    fn choose(&mut self) -> Option<Choice> {
        self.choose_but(None)
    }

    fn choose_but(&mut self, restriction: Option<&Restriction>) -> Option<Choice> {
        self.with(|guards, scene, entropy| guards.choose(Usage::Traffic, restriction, scene, entropy))
    }

    fn succeed(&mut self, id: &RsaId, standing: Standing) -> Standing {
        self.with(|guards, scene, entropy| guards.on_success(id, standing, scene, entropy))
    }

    /// A circuit over it is built, whatever it is.
    fn confirm(&mut self, number: usize) {
        let id = self.sample()[number];
        self.succeed(&id, Standing::OnCompletion);
    }

    fn fail(&mut self, id: &RsaId) {
        let now = self.now.tick;
        self.guards.on_failure(id, now);
    }

    /// All primary guards were tried just now, and failed.
    fn fail_primary(&mut self) {
        for id in self.primary() {
            self.guards.get_mut(&id).unwrap().tried = Some(self.now.tick);
            self.fail(&id);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn sample(&self) -> Vec<RsaId> {
        self.guards.records().map(|record| record.id).collect()
    }

    fn primary(&self) -> Vec<RsaId> {
        self.guards.primary().to_vec()
    }

    fn record(&self, id: &RsaId) -> &Record {
        &self.guards.get(id).unwrap().record
    }

    fn upgrade(&mut self, circuits: &[Pending]) -> Vec<usize> {
        self.with(|guards, scene, _| guards.upgrade(circuits, scene))
    }
}

fn not(ids: &[RsaId]) -> Restriction {
    Restriction::Path(Arc::new(ids.iter().copied().collect()))
}

/// test_entry_guard_expand_sample, test_entry_guard_add_single_guard
#[test]
fn a_sample_is_drawn_once_and_drawn_on_when_too_few_are_usable() {
    let mut world = world();
    let first = world.sample();
    assert_eq!((first.len(), first.iter().collect::<BTreeSet<_>>().len()), (20, 20));
    for record in world.guards.records() {
        let age = world.now.wall.since(record.sampled_on);
        assert!(record.is_listed && record.confirmed.is_none() && age <= days(12));
    }
    world.update();
    assert_eq!(world.sample(), first);
    first[..3].iter().for_each(|id| world.fail(id));
    world.update();
    assert_eq!(world.sample().len(), 23);
    // A fifth of all guards, and not one more, even when none of them is any good.
    for _ in 0..3 {
        world.sample().iter().for_each(|id| world.fail(id));
        world.update();
    }
    assert_eq!(world.sample().len(), usize::from(GUARDS) / 5);
}

/// test_entry_guard_expand_sample_small_net
#[test]
fn a_small_network_is_sampled_whole() {
    assert_eq!(world_of(15).sample().len(), 15);
    assert_eq!(world_of(0).choose(), None);
}

/// test_entry_guard_update_from_consensus_status, and ..._repair
#[test]
fn whether_a_guard_is_listed_is_remembered_with_a_vague_date() {
    let mut world = world();
    let (first, last) = (world.sample()[0], world.sample()[19]);
    world.net.is_recent = false;
    world.net.listed.clear();
    world.update();
    assert!(world.guards.records().all(|record| record.is_listed), "an old consensus changes nothing");
    world.net = Net { listed: (0..GUARDS).map(id).collect(), is_recent: true, ..world.net };
    world.net.listed.remove(&first);
    world.update();
    let since = world.record(&first).unlisted_since.unwrap();
    assert!(!world.record(&first).is_listed && world.now.wall.since(since) <= days(4));
    world.wait(days(1));
    world.update();
    assert_eq!(world.record(&first).unlisted_since, Some(since));
    world.net.listed.insert(first);
    world.update();
    assert!(world.record(&first).is_listed && world.record(&first).unlisted_since.is_none());
    // A record that contradicts itself is mended.
    world.guards.record_mut(&last).unwrap().is_listed = false;
    world.guards.record_mut(&last).unwrap().unlisted_since = Some(Wall::from_secs(5));
    world.update();
    assert!(world.record(&last).is_listed && world.record(&last).unlisted_since.is_none());
}

/// test_entry_guard_update_from_consensus_remove
#[test]
fn guards_go_when_they_are_unlisted_unused_or_old() {
    let mut world = world();
    let ids = world.sample();
    let now = world.now.wall;
    let ago = |count: u64| now - days(count);
    // Unlisted for long; unlisted for a while; never used, old and not so; confirmed, old and not so.
    world.net.listed.remove(&ids[0]);
    world.net.listed.remove(&ids[1]);
    world.guards.record_mut(&ids[0]).unwrap().unlisted_since = Some(ago(21));
    world.guards.record_mut(&ids[1]).unwrap().unlisted_since = Some(ago(19));
    world.guards.record_mut(&ids[2]).unwrap().sampled_on = ago(121);
    world.guards.record_mut(&ids[3]).unwrap().sampled_on = ago(119);
    world.guards.record_mut(&ids[4]).unwrap().confirmed = Some((ago(61), 0));
    let kept = world.guards.record_mut(&ids[5]).unwrap();
    (kept.sampled_on, kept.confirmed) = (ago(150), Some((ago(59), 1)));
    world.guards.take_news();
    world.update();
    let gone: Vec<_> = ids.iter().filter(|id| !world.guards.contains(id)).copied().collect();
    assert_eq!(gone, [ids[0], ids[2], ids[4]]);
    assert_eq!(world.record(&ids[5]).confirmed.unwrap().1, 0, "numbers stay dense");
    let news = world.guards.take_news();
    assert!(gone.iter().all(|id| news.contains(&News::Dropped(*id))));
    assert_eq!(world.sample().len(), 21, "those that were usable are replaced");
}

/// test_entry_guard_confirming_guards
#[test]
fn guards_that_serve_are_confirmed_in_order_with_a_vague_date() {
    let mut world = world();
    [5, 2, 9].into_iter().for_each(|number| world.confirm(number));
    let ids = world.sample();
    for (order, number) in [(0, 5), (1, 2), (2, 9)] {
        let (on, index) = world.record(&ids[number]).confirmed.unwrap();
        assert!(index == order && world.now.wall.since(on) <= days(12));
    }
    assert!(world.guards.take_changed() && !world.guards.take_changed());
}

/// test_entry_guard_retry_unreachable
#[test]
fn guards_that_fail_are_tried_again_ever_more_seldom() {
    for (failing, primary, other) in [
        (hours(1), minutes(10), hours(1)),
        (hours(6), minutes(10), hours(1)),
        (hours(7), minutes(90), hours(4)),
        (hours(96), minutes(90), hours(4)),
        (hours(97), hours(4), hours(18)),
        (hours(168), hours(4), hours(18)),
        (hours(169), hours(9), hours(36)),
    ] {
        assert_eq!((retry_delay(failing, true), retry_delay(failing, false)), (primary, other), "{failing:?}");
    }
    let mut world = world();
    world.fail_primary();
    world.wait(minutes(9));
    assert_ne!(world.choose().unwrap().standing, Standing::OnCompletion);
    world.wait(minutes(2));
    assert_eq!(world.choose().unwrap().standing, Standing::OnCompletion);
}

/// test_entry_guard_manage_primary
#[test]
fn primary_guards_are_confirmed_ones_then_those_before_then_the_next() {
    let mut world = world();
    let ids = world.sample();
    assert_eq!(world.primary(), ids[..3]);
    world.confirm(7);
    world.confirm(12);
    world.update();
    assert_eq!(world.primary(), [ids[0], ids[7], ids[12]]);
    world.confirm(1);
    assert_eq!(world.primary(), [ids[1], ids[7], ids[12]]);
    // One that the user refuses is none any more, and comes back when he does not.
    world.net.refused.insert(ids[7]);
    world.update();
    assert_eq!(world.primary(), [ids[0], ids[1], ids[12]]);
    world.net.refused.clear();
    world.update();
    assert_eq!(world.primary(), [ids[1], ids[7], ids[12]]);
}

/// test_entry_guard_guard_preferred
#[test]
fn a_guard_is_better_if_it_was_confirmed_earlier_or_tried_earlier() {
    let mut world = world();
    let (a, b) = (world.sample()[10], world.sample()[11]);
    let better = |world: &World| (world.guards.is_better(&a, &b), world.guards.is_better(&b, &a));
    let tick = world.now.tick;
    for id in [a, b] {
        world.guards.get_mut(&id).unwrap().tried = Some(tick);
    }
    assert!(!world.guards.is_better(&a, &a));
    assert_eq!(better(&world), (false, false));
    world.guards.get_mut(&a).unwrap().is_pending = true;
    assert_eq!(better(&world), (true, false));
    world.guards.get_mut(&b).unwrap().is_pending = true;
    assert_eq!(better(&world), (false, false));
    world.guards.get_mut(&b).unwrap().tried = Some(Tick::new(hours(1)));
    assert_eq!(better(&world), (false, true));
    world.guards.record_mut(&a).unwrap().confirmed = Some((Wall::default(), 5));
    assert_eq!(better(&world), (true, false));
    world.guards.record_mut(&b).unwrap().confirmed = Some((Wall::default(), 2));
    assert_eq!(better(&world), (false, true));
}

/// test_entry_guard_correct_cascading_order
#[test]
fn primary_guards_are_used_in_the_order_of_sampling() {
    let mut world = world();
    let ids = world.sample();
    world.confirm(2);
    assert_eq!(world.primary(), ids[..3]);
    world.confirm(0);
    world.confirm(1);
    assert_eq!(world.primary(), ids[..3]);
    assert_eq!(world.choose().unwrap().id, ids[0]);
    world.fail(&ids[0]);
    world.update();
    assert_eq!(world.choose().unwrap().id, ids[1]);
}

/// test_entry_guard_select_for_circuit_no_confirmed
#[test]
fn without_confirmed_guards_the_sample_is_gone_through() {
    let mut world = world();
    let first = world.choose().unwrap();
    assert_eq!((first.id, first.standing), (world.sample()[0], Standing::OnCompletion));
    assert_eq!(world.choose(), Some(first));
    world.fail(&first.id);
    let second = world.choose().unwrap();
    assert_eq!((second.id, second.standing), (world.sample()[1], Standing::OnCompletion));
    world.wait(hours(72));
    assert_eq!(world.choose(), Some(first), "it was tried long ago");
    world.fail_primary();
    let other = world.choose().unwrap();
    assert_eq!((other.id, other.standing), (world.sample()[3], Standing::IfNoBetter));
    assert_ne!(world.choose().unwrap().id, other.id, "that one is under way");
    world.guards.on_network_back();
    assert_eq!(world.choose(), Some(first));
    let restricted = world.choose_but(Some(&not(&[first.id]))).unwrap();
    assert_ne!(restricted.id, first.id);
}

/// test_entry_guard_select_for_circuit_confirmed
#[test]
fn confirmed_guards_come_before_others() {
    let mut world = world();
    (0..10).for_each(|number| world.confirm(number));
    let ids = world.sample();
    assert_eq!(world.choose().unwrap().id, ids[0]);
    world.fail_primary();
    for number in [3, 4] {
        assert_eq!(world.choose(), Some(Choice { id: ids[number], standing: Standing::IfNoBetter }));
    }
    assert_eq!(world.choose_but(Some(&not(&[ids[5]]))).unwrap().id, ids[6]);
    for number in [5, 7, 8, 9] {
        assert_eq!(world.choose().unwrap().id, ids[number]);
    }
    assert_eq!(world.choose().unwrap().id, ids[10], "all confirmed ones are under way");
    let everybody = not(&(0..=u8::MAX).map(id).collect::<Vec<_>>());
    assert_eq!(world.choose_but(Some(&everybody)), None);
}

/// test_entry_guard_select_for_circuit_highlevel_primary
#[test]
fn a_primary_guard_that_works_makes_a_circuit_complete_and_one_that_fails_is_passed_over() {
    let mut world = world();
    let first = world.choose().unwrap();
    assert_eq!(world.succeed(&first.id, first.standing), Standing::Complete);
    assert_eq!(world.record(&first.id).confirmed.unwrap().1, 0);
    world.fail(&first.id);
    let second = world.choose().unwrap();
    assert_ne!(second.id, first.id);
    world.fail(&second.id);
    assert_ne!(world.choose().unwrap().id, second.id);
}

/// test_entry_guard_select_for_circuit_highlevel_confirm_other
#[test]
fn another_guard_that_works_is_confirmed_and_its_circuit_waits() {
    let mut world = world();
    let before = world.primary();
    for id in world.primary() {
        world.succeed(&id, Standing::OnCompletion);
    }
    world.fail_primary();
    world.wait(Duration::from_secs(60));
    let other = world.choose().unwrap();
    assert_eq!(other.standing, Standing::IfNoBetter);
    assert_eq!(world.succeed(&other.id, other.standing), Standing::Waiting);
    assert_eq!(world.primary(), before);
    assert!(world.record(&other.id).confirmed.is_some());
    // Where none is confirmed, it becomes primary itself, and need not wait.
    let mut world = self::world();
    world.fail_primary();
    let other = world.choose().unwrap();
    assert_eq!(world.succeed(&other.id, other.standing), Standing::Complete);
    assert!(world.primary().contains(&other.id));
}

/// test_entry_guard_select_for_circuit_highlevel_primary_retry
#[test]
fn after_a_long_silence_primary_guards_get_another_trial() {
    let mut world = world();
    for id in world.primary() {
        world.succeed(&id, Standing::OnCompletion);
    }
    world.fail_primary();
    // The network was away: another guard is the first sign of it.
    world.wait(Duration::from_secs(601));
    world.fail_primary();
    let other = world.choose().unwrap();
    assert_eq!(other.standing, Standing::IfNoBetter);
    world.succeed(&other.id, other.standing);
    assert_eq!(world.choose().unwrap().standing, Standing::OnCompletion);
}

/// test_entry_guard_select_for_circuit_exit_family_restriction; C tor 0.4.8.9's bug
#[test]
fn a_restricted_circuit_uses_no_more_guards_than_others() {
    let mut world = world();
    world.wish.in_use = 2;
    let ids = world.sample();
    for _ in 0..20 {
        assert!(ids[..2].contains(&world.choose().unwrap().id));
        assert_eq!(world.choose_but(Some(&not(&[ids[0]]))).unwrap().id, ids[1]);
        assert_eq!(world.choose_but(Some(&not(&[ids[1]]))).unwrap().id, ids[0]);
        assert_eq!(world.choose_but(Some(&not(&ids[..2]))).unwrap().id, ids[2]);
    }
    // What a directory lacks is no reason to keep to few.
    let outdated = Restriction::Outdated(Arc::new([ids[0]].into()));
    let chosen: BTreeSet<_> = (0..40).map(|_| world.choose_but(Some(&outdated)).unwrap().id).collect();
    assert_eq!(chosen, [ids[1], ids[2]].into());
}

/// test_entry_guard_select_and_cancel
#[test]
fn a_cancelled_circuit_leaves_its_guard_to_others() {
    let mut world = world();
    world.fail_primary();
    let other = world.choose().unwrap();
    world.guards.on_cancelled(&other.id);
    assert_eq!(world.choose(), Some(other));
}

/// A guard without a microdescriptor serves for the directory alone.
#[test]
fn a_guard_that_is_not_known_well_serves_for_the_directory() {
    let mut world = world();
    let ids = world.sample();
    world.net.bare.insert(ids[0]);
    assert_eq!(world.choose().unwrap().id, ids[1]);
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let choice = world.with(|guards, scene, entropy| guards.choose(Usage::Directory, None, scene, entropy));
        seen.insert(choice.unwrap().id);
    }
    assert_eq!(seen, ids[..3].iter().copied().collect());
}

/// test_entry_guard_number_of_primaries
#[test]
fn the_user_may_say_how_many() {
    let mut world = world();
    world.wish = Wish { primary: 5, in_use: 4, ..Wish::default() };
    world.update();
    assert_eq!(world.primary().len(), 5);
    let seen: BTreeSet<_> = (0..100).map(|_| world.choose().unwrap().id).collect();
    assert_eq!(seen, world.sample()[..4].iter().copied().collect());
}

/// Two guards that served, two others, and a circuit over each: the scene of
/// test_entry_guard_upgrade_*.
fn waiting_world() -> (World, [RsaId; 4]) {
    let mut world = world();
    for id in world.primary() {
        world.succeed(&id, Standing::OnCompletion);
    }
    world.confirm(5);
    world.confirm(6);
    world.fail_primary();
    let ids = world.sample();
    (world, [ids[5], ids[6], ids[10], ids[11]])
}

fn circuit(guard: RsaId, standing: Standing, world: &World) -> Pending {
    Pending { guard, standing, since: world.now.tick, restriction: None }
}

/// test_entry_guard_upgrade_a_circuit, ..._blocked_by_live_primary_guards,
/// ..._blocked_by_lack_of_waiting_circuits
#[test]
fn a_waiting_circuit_is_used_once_all_primary_guards_are_down() {
    let (mut world, [a, b, ..]) = waiting_world();
    let circuits = [circuit(b, Standing::Waiting, &world), circuit(a, Standing::Waiting, &world)];
    assert_eq!(world.upgrade(&circuits), [1], "the better one");
    assert_eq!(world.upgrade(&circuits[..1]), [0]);
    assert!(world.upgrade(&[]).is_empty());
    assert!(world.upgrade(&[circuit(a, Standing::IfNoBetter, &world)]).is_empty());
    world.guards.on_network_back();
    assert!(world.upgrade(&circuits).is_empty());
}

/// test_entry_guard_upgrade_blocked_by_better_circ_complete, ..._not_blocked_by_worse_circ_complete,
/// ..._not_blocked_by_restricted_circ_complete
#[test]
fn a_complete_circuit_over_a_better_guard_makes_it_wait_on() {
    let (mut world, [a, b, ..]) = waiting_world();
    let waiting = |guard, world: &World| circuit(guard, Standing::Waiting, world);
    let better = [waiting(b, &world), circuit(a, Standing::Complete, &world)];
    assert!(world.upgrade(&better).is_empty());
    let worse = [waiting(a, &world), circuit(b, Standing::Complete, &world)];
    assert_eq!(world.upgrade(&worse), [0]);
    let restricted =
        [Pending { restriction: Some(not(&[a])), ..waiting(b, &world) }, circuit(a, Standing::Complete, &world)];
    assert_eq!(world.upgrade(&restricted), [0], "the better one would not have been allowed");
}

/// test_entry_guard_upgrade_blocked_by_better_circ_pending, ..._not_blocked_by_worse_circ_pending,
/// ..._not_blocked_by_restricted_circ_pending
#[test]
fn a_circuit_under_way_over_a_better_guard_makes_it_wait_for_a_while() {
    let (mut world, [a, b, ..]) = waiting_world();
    let circuits = [circuit(b, Standing::Waiting, &world), circuit(a, Standing::IfNoBetter, &world)];
    assert!(world.upgrade(&circuits).is_empty());
    let worse = [circuit(a, Standing::Waiting, &world), circuit(b, Standing::IfNoBetter, &world)];
    assert_eq!(world.upgrade(&worse), [0]);
    let restricted = [Pending { restriction: Some(not(&[a])), ..circuits[0].clone() }, circuits[1].clone()];
    assert_eq!(world.upgrade(&restricted), [0]);
    world.wait(Duration::from_secs(15));
    assert_eq!(world.upgrade(&circuits), [0]);
}

/// test_entry_guard_parse_from_state_full, as far as it goes: what is saved is loaded.
#[test]
fn a_sample_outlives_a_run_in_its_order() {
    let mut world = world();
    [4, 1].into_iter().for_each(|number| world.confirm(number));
    let lines: Vec<String> = (0..).zip(world.guards.records()).map(|(index, record)| record.encode(index)).collect();
    let mut records: Vec<Record> = lines.iter().map(|line| Record::parse(line).unwrap()).collect();
    records.reverse();
    records.push(records[0].clone());
    let before = (world.sample(), world.primary());
    world.guards = Guards::new().with(records, world.now);
    world.update();
    assert_eq!((world.sample(), world.primary()), before);
    assert_eq!(world.record(&before.0[4]).confirmed.unwrap().1, 0);
    // A file of no end is not read to its end.
    let many = (0..2000_u32).map(|number| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Record::new(DEFAULT, RsaId(bytes), "a", "b", Wall::default())
    });
    assert_eq!(Guards::new().with(many, world.now).records().count(), MAX_LOADED);
}

#[test]
fn heavier_guards_are_sampled_more_often() {
    let mut entropy = Seeded(1);
    let mut counts = [0; 3];
    for _ in 0..3000 {
        let mut eligible = vec![(id(0), 1), (id(1), 0), (id(2), 3)];
        counts[usize::from(draw(&mut eligible, &mut entropy).unwrap().0[0])] += 1;
        assert_eq!(eligible.len(), 2);
    }
    assert!((600..900).contains(&counts[0]) && counts[1] == 0 && (2100..2400).contains(&counts[2]), "{counts:?}");
    assert_eq!(draw(&mut Vec::new(), &mut entropy), None);
    assert!(draw(&mut vec![(id(0), 0)], &mut entropy).is_some());
}
