//! The exactly-once protocol as explicit-state models: every state that two writers, crashes, pauses, late
//! requests and lost answers can reach is visited and checked. Each rule is also broken on purpose, once, to
//! show that the model would notice. See `docs/model.md`.

mod births;
mod helpers;
mod lake_store;
mod parts;
mod rebuild;
mod search;
mod writers;

use search::{Model, explore};

/// `LANDFALL_TEST_ALL=1` asks for larger bounds, which take minutes and gigabytes.
fn all() -> bool {
    std::env::var_os("LANDFALL_TEST_ALL").is_some_and(|value| value == "1")
}

/// Every state is visited, none breaks an invariant, and none is a dead end.
fn holds<M: Model>(name: &str, model: M) {
    let start = std::time::Instant::now();
    match explore(&model) {
        Ok(explored) => println!(
            "model {name}: {} states, depth {}, {} settled, {:.1?}",
            explored.states,
            explored.depth,
            explored.settled,
            start.elapsed()
        ),
        Err(found) => panic!("model {name}: {found}"),
    }
}

/// The broken rule is noticed, and for the reason that it was expected to be.
fn caught<M: Model>(name: &str, model: M, because: &str) {
    match explore(&model) {
        Ok(explored) => panic!("{name}: {} states, and nothing was noticed", explored.states),
        Err(found) => {
            println!("caught {name}: {}, {} steps, {} states", found.broken, found.trace.len(), found.states);
            if std::env::var_os("LANDFALL_MODEL_TRACE").is_some() {
                println!("{found}");
            }
            assert!(found.broken.contains(because), "{name}: expected {because:?}, found {found}");
        }
    }
}

mod two_writers {
    use super::writers::{Broken, OnGap, Writers};
    use super::{all, caught, holds};
    use crate::search::NOT_SETTLING;

    const PLAIN: Writers = Writers {
        offsets: 3,
        empty: 0,
        on_gap: OnGap::Record,
        retention: true,
        two_layouts: false,
        read_ahead: false,
        joined: false,
        announce: false,
        late: 1,
        broken: Broken::Nothing,
    };

    #[test]
    fn hold_where_an_offset_has_no_record() {
        holds("writers, 2 offsets, one without a record", Writers { empty: 0b010, joined: true, offsets: 2, ..PLAIN });
    }

    #[test]
    fn hold_with_a_stop_for_gaps() {
        holds("writers, stop for gaps, read ahead", Writers { on_gap: OnGap::Fail, read_ahead: true, ..PLAIN });
    }

    #[test]
    fn hold_with_rows_read_ahead() {
        holds("writers, read ahead", Writers { read_ahead: true, ..PLAIN });
    }

    #[test]
    fn hold_with_two_layouts() {
        let two = Writers { two_layouts: true, read_ahead: true, retention: false, ..PLAIN };
        holds("writers, two layouts, read ahead", two);
    }

    #[test]
    fn hold_with_commit_and_plan_in_one_swap() {
        holds("writers, commit and plan in one swap", Writers { joined: true, retention: false, late: 2, ..PLAIN });
    }

    #[test]
    fn hold_in_larger_bounds() {
        if all() {
            holds("writers, all, 3 offsets", Writers { joined: true, read_ahead: true, late: 2, ..PLAIN });
            let two = Writers { two_layouts: true, read_ahead: true, ..PLAIN };
            holds("writers, two layouts, retention", two);
            holds(
                "writers, 4 offsets, no retention",
                Writers { offsets: 4, read_ahead: true, retention: false, ..PLAIN },
            );
        }
    }

    #[test]
    fn overwrite_data() {
        caught("overwrite data", Writers { broken: Broken::OverwriteData, ..PLAIN }, "I5");
    }

    #[test]
    fn start_at_the_group_offset() {
        let model = Writers { announce: true, retention: false, broken: Broken::StartAtTheGroupOffset, ..PLAIN };
        caught("start at the group offset", model, "I5");
    }

    #[test]
    fn put_before_plan() {
        caught("put before plan", Writers { read_ahead: true, broken: Broken::PutBeforePlan, ..PLAIN }, "overlap");
    }

    #[test]
    fn layout_not_frozen() {
        caught("layout not frozen", Writers { two_layouts: true, broken: Broken::LayoutNotFrozen, ..PLAIN }, "overlap");
    }

    #[test]
    fn gap_of_the_attempt_instead_of_the_file() {
        let model = Writers { broken: Broken::GapOfTheAttempt, ..PLAIN };
        caught("gap of the attempt instead of the file", model, "I5");
    }

    #[test]
    fn exists_believed_without_read_back() {
        let model = Writers { retention: false, broken: Broken::ExistsBelieved, ..PLAIN };
        caught("\"exists\" believed without read-back", model, "I5");
    }

    #[test]
    fn own_range_in_planned_with_the_own_layout() {
        let broken = Broken::OwnRangeWithOwnLayout;
        let model = Writers { two_layouts: true, read_ahead: true, retention: false, broken, ..PLAIN };
        caught("own range in planned executed with the own layout", model, "overlap");
    }

    #[test]
    fn rows_read_ahead_used_for_other_bounds() {
        let model = Writers { read_ahead: true, broken: Broken::ReadAheadForOtherBounds, ..PLAIN };
        caught("rows read ahead used for other bounds", model, "I4");
    }

    #[test]
    fn no_rows_no_file() {
        caught("no rows, no file", Writers { broken: Broken::NoRowsNoFile, ..PLAIN }, "a row and a recorded gap");
    }

    #[test]
    fn a_stop_for_a_gap_although_a_file_stands() {
        let broken = Broken::StopForAGapThoughAFileStands;
        let model = Writers { on_gap: OnGap::Fail, broken, ..PLAIN };
        caught("a stop for a gap although a file of the plan stands", model, NOT_SETTLING);
    }
}

mod versions_in_the_lake {
    use super::lake_store::{Broken, LakeStore};
    use super::{all, caught, holds};

    #[test]
    fn hold() {
        let sound =
            |offsets, late, forgetful| LakeStore { offsets, late, joint: false, forgetful, broken: Broken::Nothing };
        holds("lake store, every version remembered, 2 offsets", sound(2, 1, false));
        holds("lake store, 2 offsets, 2 late requests", sound(2, 2, true));
        holds("lake store, 3 offsets", sound(3, 1, true));
        holds("lake store, commit and plan in one swap", LakeStore { joint: true, ..sound(2, 2, true) });
        if all() {
            holds("lake store, 3 offsets, 2 late requests", sound(3, 2, true));
            holds("lake store, 3 offsets, one swap", LakeStore { joint: true, ..sound(3, 1, true) });
        }
    }

    fn broken(name: &str, broken: Broken, because: &str) {
        // Two offsets are enough to catch each of these, and a tenth of the states.
        // (A plan behind a committed batch needs a third to have other bounds.)
        let joint = broken == Broken::JointSwapWithoutList;
        let offsets = if all() || joint { 3 } else { 2 };
        caught(name, LakeStore { offsets, late: 1, joint, forgetful: false, broken }, because);
    }

    #[test]
    fn prune_without_list() {
        broken("prune without list", Broken::PruneWithoutList, "overlap");
    }

    #[test]
    fn overwrite_a_version() {
        broken("overwrite a version", Broken::OverwriteAVersion, "overlap");
    }

    #[test]
    fn no_nonce() {
        broken("no nonce", Broken::NoNonce, "overlap");
    }

    #[test]
    fn own_nonce_without_list() {
        broken("\"own nonce\" without list", Broken::OwnNonceWithoutList, "overlap");
    }

    #[test]
    fn newest_version_by_probing_upwards() {
        broken("newest version by probing upwards", Broken::ProbingUpwards, "overlap");
    }

    #[test]
    fn list_and_read_apart() {
        broken("list and read apart, with a late create at the same number", Broken::ListAndReadApart, "overlap");
    }

    #[test]
    fn the_next_lower_version_of_a_list() {
        broken("the next lower version of a list", Broken::NextLowerOfAList, "overlap");
    }

    #[test]
    fn a_joint_swap_without_list() {
        broken("a joint swap without list", Broken::JointSwapWithoutList, "without a plan");
    }

    #[test]
    fn prune_the_newest() {
        broken("prune the newest", Broken::PruneTheNewest, "newest version is gone");
    }
}

mod helped {
    use super::helpers::{Broken, Helpers};
    use super::{caught, holds};
    use crate::search::NOT_SETTLING;

    const TWO: Helpers = Helpers { offsets: 3, processes: 2, broken: Broken::Nothing };

    #[test]
    fn hold() {
        holds("helpers, two planners, 3 offsets", TWO);
        holds("helpers, three planners, 2 offsets", Helpers { offsets: 2, processes: 3, ..TWO });
    }

    fn broken(name: &str, broken: Broken, because: &str) {
        caught(name, Helpers { broken, ..TWO }, because);
    }

    #[test]
    fn planned_where_it_looked() {
        broken("a piece planned where it was looked for", Broken::PlanWhereItLooked, "I2");
    }

    #[test]
    fn planned_behind_its_own() {
        broken("a piece planned behind the own plans", Broken::PlanBehindItsOwn, "I2");
    }

    #[test]
    fn help_without_list() {
        broken("help without list", Broken::HelpWithoutList, "I2");
    }

    #[test]
    fn a_commit_counts_for_all_before() {
        broken("a commit counts for all before it", Broken::CommitCountsForAllBefore, "lost");
    }

    #[test]
    fn announced_past_an_open_plan() {
        broken("announced past an open plan", Broken::AnnouncePastAnOpenPlan, "not all before it has landed");
    }

    #[test]
    fn plans_of_others_dropped() {
        broken("plans of others dropped", Broken::PlansOfOthersDropped, "lost");
    }

    #[test]
    fn plans_of_others_taken_back() {
        broken("plans of others taken back", Broken::PlansOfOthersTakenBack, "without a plan");
    }

    #[test]
    fn taken_over_with_other_bounds() {
        broken("taken over with other bounds", Broken::TakenOverWithOtherBounds, "I2");
    }

    #[test]
    fn commit_from_the_old_record() {
        broken("a commit made again from the old record", Broken::CommitFromTheOldRecord, "I2");
    }

    #[test]
    fn left_to_its_maker_for_good() {
        broken("left to its maker for good", Broken::LeftToItsMakerForGood, NOT_SETTLING);
    }
}

mod several_files {
    use super::parts::{Broken, Parts};
    use super::{caught, holds};

    #[test]
    fn hold() {
        holds("parts of one batch", Parts { rows: 3, broken: Broken::Nothing });
    }

    #[test]
    fn parts_encoded_twice() {
        caught("parts encoded twice", Parts { rows: 3, broken: Broken::PartsEncodedTwice }, "two parts");
    }

    #[test]
    fn commit_before_the_last_part() {
        caught("commit before the last part", Parts { rows: 3, broken: Broken::CommitBeforeTheLastPart }, "lost");
    }

    #[test]
    fn staged_bytes_removed_before_the_commit() {
        let broken = Broken::StagedBytesRemovedBeforeTheCommit;
        caught("staged bytes removed before the commit", Parts { rows: 3, broken }, "stuck");
    }
}

mod first_starts {
    use super::births::{Births, Broken};
    use super::{caught, holds};

    fn births(broken: Broken) -> Births {
        Births { two_stores: false, broken }
    }

    #[test]
    fn hold() {
        holds("births, one store", births(Broken::Nothing));
        holds("births, a store each", Births { two_stores: true, broken: Broken::Nothing });
    }

    #[test]
    fn latest_decided_per_stream() {
        caught("start = \"latest\" decided per stream", births(Broken::LatestPerStream), "I");
    }

    #[test]
    fn mark_before_the_checkpoint() {
        caught("mark before the checkpoint", births(Broken::MarkBeforeTheCheckpoint), "nothing was lost");
    }

    #[test]
    fn plan_before_the_mark() {
        caught("plan before the mark", births(Broken::PlanBeforeTheMark), "I6");
    }

    #[test]
    fn the_mark_taken_for_granted() {
        caught("the mark taken for granted", births(Broken::MarkTakenForGranted), "I6");
    }

    #[test]
    fn mark_looked_up_after_the_checkpoint() {
        let model = births(Broken::MarkLookedUpAfterTheCheckpoint);
        caught("mark looked up after the checkpoint", model, "nothing was lost");
    }

    #[test]
    fn another_owner_ignored() {
        let model = Births { two_stores: true, broken: Broken::OwnerIgnored };
        caught("another owner ignored", model, "two stores");
    }
}

mod rebuilds {
    use super::rebuild::{Broken, Loss, Rebuild};
    use super::{all, caught, holds};

    const GONE: Rebuild = Rebuild { loss: Loss::Gone, removed: false, retention: 0, broken: Broken::Nothing };

    #[test]
    fn hold_when_the_store_is_gone() {
        holds("rebuild, store gone, retention", Rebuild { retention: if all() { 3 } else { 1 }, ..GONE });
        holds("rebuild, store gone, files moved away", Rebuild { removed: true, retention: u8::from(all()), ..GONE });
    }

    #[test]
    fn hold_when_a_copy_is_put_back() {
        holds("rebuild, an old copy put back", Rebuild { loss: Loss::Restored, removed: all(), ..GONE });
    }

    #[test]
    fn hold_when_another_owner_takes_over() {
        let taken = Rebuild { loss: Loss::TakenOver, ..GONE };
        holds("rebuild, taken over", Rebuild { retention: if all() { 3 } else { 1 }, ..taken });
        holds(
            "rebuild, taken over, files moved away",
            Rebuild { removed: true, retention: if all() { 3 } else { 0 }, ..taken },
        );
    }

    #[test]
    fn rebuild_that_ignores_holes_before_the_first_name() {
        let model = Rebuild { broken: Broken::HolesBeforeTheFirstNameIgnored, ..GONE };
        caught("rebuild that ignores holes before the first name", model, "lost");
    }

    #[test]
    fn rebuild_before_the_owners_object() {
        let broken = Broken::RebuildBeforeTheOwnersObject;
        caught("rebuild before the owner's object", Rebuild { loss: Loss::TakenOver, broken, ..GONE }, "I2");
    }

    #[test]
    fn no_owner_in_the_path() {
        caught("no owner in the path", Rebuild { broken: Broken::NoOwnerInThePath, ..GONE }, "overlap");
    }

    #[test]
    fn holes_removed_with_an_open_plan() {
        let model = Rebuild { removed: true, broken: Broken::HolesRemovedWithAnOpenPlan, ..GONE };
        caught("--holes removed with an open plan", model, "lost");
    }

    #[test]
    fn rebuild_while_puts_are_under_way() {
        let model = Rebuild { broken: Broken::RebuildWhilePutsAreUnderWay, ..GONE };
        caught("rebuild while puts are under way", model, "I2");
    }

    #[test]
    fn names_alone_in_a_take_over() {
        let broken = Broken::NamesAloneInATakeOver;
        caught("names alone in a take-over", Rebuild { loss: Loss::TakenOver, broken, ..GONE }, "I2");
    }

    #[test]
    fn the_tree_of_a_late_create_believed() {
        let model = Rebuild { broken: Broken::TreeOfALateCreateBelieved, ..GONE };
        caught("the tree of a late create believed", model, "overlap");
    }

    #[test]
    fn a_file_of_an_open_plan_moved_away() {
        let model = Rebuild { loss: Loss::TakenOver, removed: true, broken: Broken::MoveBelowNext, ..GONE };
        caught("a file of an open plan moved away", model, "again");
    }
}
