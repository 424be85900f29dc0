//! Tests of features that only PostgreSQL has: rights of roles beyond their objects, locks on its
//! catalog, names in another encoding, and the store in it. `postgres-17/law_...`.

mod administrators;
mod identity;
mod looks;
mod memberships;
mod powers;
mod scene;
mod set_up;
mod store;
mod strangers;
mod switch;

use std::time::Duration;

use anyhow::Result;
use jit_core::store::BoxError;
use jit_tests::servers::{RunningPostgres, Servers};
use jit_tests::trials::Trials;

use crate::scene::Scene;

/// Longest time of one test on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn main() -> Result<()> {
    let servers = Servers::of_this_run()?;
    let mut trials = Trials::new(PATIENCE)?;
    for running in servers.postgres() {
        let mut all = Tests { running, trials: &mut trials };
        all.add("what_reaches_beyond_its_objects_is_a_power", powers::powers);
        all.add("ordinary_rights_are_no_power", powers::ordinary);
        all.add("law_04_a_role_that_may_log_in_can_be_kept", powers::password);
        all.add("what_was_given_or_altered_in_the_roles_name_is_left_behind", powers::passed_on);
        all.add("law_05_a_broker_made_superuser_still_takes_what_it_granted", memberships::superuser);
        all.add("law_05_accounts_that_swap_their_names_are_told_apart", memberships::swapped);
        all.add("law_05_what_was_prepared_as_the_role_is_reported_and_left", looks::prepared_as_role);
        all.add("law_17_who_could_act_as_the_broker_is_told", looks::members_of_the_broker);
        all.add("law_17_a_strangers_schema_stops_no_check_and_no_grant", looks::strangers_schema);
        all.add_alone("law_17_a_strangers_schema_is_not_adopted_for_ending_sessions", looks::planted_sessions);
        all.add("names_that_are_no_utf8_stop_nothing", memberships::encodings);
        all.add("the_dead_mans_switch_outlives_a_lock_on_its_leases", switch::locked_leases);
        all.add("the_dead_mans_switch_keeps_its_database_in_use_as_doctor_says", switch::in_use);
        // 15 has neither a lock of a role nor the grantor of a membership
        if running.major >= 16 {
            all.add("law_04_a_lock_of_the_account_does_not_keep_its_role", memberships::locked);
            all.add("law_04_our_own_lock_is_not_somebody_elses", memberships::locked_by_us);
            all.add("what_the_broker_granted_and_can_use_is_listed", memberships::of_the_broker);
            all.add("a_role_that_was_gone_already_is_told", memberships::gone_before);
            all.add("one_account_that_is_refused_keeps_no_other_waiting", memberships::one_of_several);
            all.add(
                "administrators_are_no_members_and_their_sessions_are_left_and_told",
                administrators::administrators,
            );
            all.add("the_dead_mans_switch_leaves_the_sessions_of_who_cannot_act_as_the_account", switch::mere_admin);
            all.add(
                "who_is_a_member_of_an_administrator_is_one_of_the_account",
                administrators::members_of_administrators,
            );
            all.add(
                "the_dead_mans_switch_leaves_the_sessions_of_administrators",
                administrators::administrators_and_dead_mans_switch,
            );
            all.add_plain("a_store_knows_a_nameless_server_by_the_expected_name", store::store_by_name);
        }
        all.add_alone("law_17_a_target_is_set_up_from_nothing_and_mended", set_up::from_nothing);
        all.add_alone("law_17_setting_up_takes_over_nothing_of_a_strangers", set_up::planted);
        all.add_alone("a_target_is_set_up_by_who_is_no_superuser", set_up::by_an_administrator);
        all.add_alone("the_dead_mans_switch_ends_sessions_by_an_administrators_function", switch::by_the_function);
        all.add_alone("law_17_a_planted_schema_of_pg_cron_stops_nothing", switch::planted_cron);
        all.add_alone("law_17_who_writes_all_data_is_told_and_no_lease_is_trusted", switch::writers);
        all.add_alone("law_17_a_planted_schema_of_the_brokers_own_stops_no_script", switch::planted_own_schema);
        all.add_alone("law_05_what_answers_at_a_moved_address_proves_no_revoke", identity::moved_address);
        if running.major == 15 {
            all.add_alone("law_17_the_job_of_pg_cron_calls_nothing_of_a_strangers", switch::hostile_path);
        }
        if running.major == 17 {
            all.add_alone("law_05_an_earlier_copy_in_its_place_is_no_restart_of_it", |_| identity::copy_in_place());
            all.add_alone("law_07_two_clusters_of_one_folder_are_two_realms", |_| identity::copied_folder());
            if servers.postgres().any(|running| running.major == 15) {
                all.add_alone("law_04_what_an_upgrade_brought_along_stays_due_until_it_is_gone", |_| {
                    identity::upgraded()
                });
            }
        }
        // before 17, only a superuser can lock a table of the catalog in a mode that blocks others
        if running.major >= 17 {
            all.add("law_04_a_lock_of_the_account_on_the_catalog_keeps_no_role", memberships::locked_catalog);
            all.add_alone("the_dead_mans_switch_ends_who_locks_what_it_reads_first", switch::locked_catalog);
            all.add("law_17_a_login_trigger_of_somebody_else_is_refused", strangers::login_trigger);
        }
        all.add_plain("law_13_an_auditor_reads_what_the_views_show", store::auditor);
        all.add_plain("law_10_a_time_that_no_node_can_have_seen_is_refused", store::time);
        all.add_plain("law_17_no_lock_of_a_reader_holds_up_a_claim", store::locks);
        all.add_plain("law_17_a_strangers_schema_is_no_store", store::planted_schema);
        all.add_plain("law_17_only_who_uses_a_store_connects_to_its_database", store::closed);
        all.add_plain("law_17_a_store_calls_no_function_of_a_strangers", store::planted);
    }
    trials.run(4)
}

/// Tests on one server.
struct Tests<'a> {
    running: &'a RunningPostgres,
    trials: &'a mut Trials,
}

impl Tests<'_> {
    /// Adds a test about an account, a role, and the broker's adapter.
    fn add<F>(&mut self, name: &str, test: impl FnOnce(Scene) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        self.add_plain(name, |running| async move { test(Scene::new(running).await?).await });
    }

    /// Adds a test on a server of its own, of this major version.
    fn add_alone<F>(&mut self, name: &str, test: impl FnOnce(u32) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        self.add_plain(name, |running| test(running.major));
    }

    fn add_plain<F>(&mut self, name: &str, test: impl FnOnce(RunningPostgres) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let running = self.running.clone();
        self.trials.add(&self.running.name(), name, move || test(running));
    }
}

fn must(holds: bool, otherwise: impl Into<String>) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}
