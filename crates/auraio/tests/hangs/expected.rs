//! What is known to fail. Whoever makes one of these pass takes it off the list.

/// Which backends and routings a scenario fails with.
type Rigs = &'static [&'static str];

const ALL: Rigs = &["uring_core", "uring_thread", "threads_core", "threads_thread"];
const CORE: Rigs = &["uring_core", "threads_core"];
const THREAD: Rigs = &["uring_thread", "threads_thread"];
const URING: Rigs = &["uring_core", "uring_thread"];

/// Scenarios that fail until they are mended. One that passes fails the test run.
const EXPECTED_TO_FAIL: &[(&str, Rigs)] = &[
    ("batches::a_buffer_of_a_batch_that_panics", ALL),
    ("batches::a_buffer_of_a_batch_that_uses_the_engine", &["uring_core", "threads_core", "threads_thread"]),
    ("batches::a_buffer_that_panics_when_it_is_dropped", ALL),
    ("batches::an_iterator_that_blocks_on_an_open", &["uring_core", "threads_core", "threads_thread"]),
    ("batches::an_iterator_that_cancels", CORE),
    ("batches::an_iterator_that_drops_a_future", CORE),
    ("batches::an_iterator_that_drops_files_of_its_own_port", URING),
    ("batches::an_iterator_that_drops_files_of_the_engine", ALL),
    ("batches::an_iterator_that_panics", ALL),
    ("batches::an_iterator_that_panics_and_then_the_port_is_dropped", ALL),
    ("batches::an_iterator_that_panics_behind_refused_operations", ALL),
    ("batches::an_iterator_that_polls", CORE),
    ("batches::an_iterator_that_submits", CORE),
    ("batches::an_iterator_that_submits_a_chain", &["uring_core", "threads_core", "threads_thread"]),
    ("batches::an_iterator_that_turns", ALL),
    ("batches::an_iterator_that_uses_another_port", CORE),
    ("batches::an_iterator_that_waits_for_another_thread", CORE),
    ("batches::an_iterator_whose_end_panics", ALL),
    ("batches::an_iterator_whose_end_uses_the_engine", &["uring_core", "threads_core", "threads_thread"]),
    ("closing::after_a_batch_whose_reads_are_refused", CORE),
    ("silence::a_full_queue_of_one_port_holds_up_no_other_port", CORE),
    ("silence::a_full_queue_of_waits_holds_up_no_close_by_a_port", CORE),
    ("silence::a_full_queue_of_waits_holds_up_no_close_of_what_was_written", CORE),
    ("silence::large_reads_into_many_buffers_hold_up_no_others", ALL),
    ("silence::large_reads_of_a_pipe_by_a_port_hold_up_no_others", ALL),
    ("silence::large_reads_of_a_pipe_hold_up_no_others", ALL),
    ("silence::large_reads_of_a_socket_hold_up_no_others", ALL),
    ("silence::large_reads_that_are_dropped_while_they_wait_hold_up_no_close", ALL),
    // The ring answers ENXIO where it should wait for a reader.
    ("silence::opens_of_a_pipe_without_a_reader_hold_up_no_others", URING),
    ("silence::reads_that_are_dropped_while_they_wait_for_room_hold_up_no_close", ALL),
    ("thread_ends::reads_at_the_position_that_two_threads_leave", THREAD),
    ("thread_ends::reads_at_the_position_that_wait_already", THREAD),
    ("thread_ends::the_next_read_at_the_position", THREAD),
    ("wakers::many_that_panic_when_they_are_woken", ALL),
    ("wakers::one_that_owns_a_future_and_is_replaced", ALL),
    ("wakers::one_that_owns_a_future_and_is_woken", ALL),
    ("wakers::one_that_owns_a_future_of_a_chain_that_is_dropped", ALL),
    ("wakers::one_that_owns_its_own_future_s_neighbour_and_is_abandoned", ALL),
    ("wakers::one_that_panics_when_it_is_dropped", ALL),
    ("wakers::one_that_panics_when_the_engine_s_thread_wakes_it", ALL),
    ("wakers::one_that_uses_the_engine_when_it_is_dropped", ALL),
];

/// Scenarios that fail on some runs only, because two threads race: how they end is told and not judged, until they are
/// mended.
const FAILS_AT_TIMES: &[(&str, Rigs)] = &[
    // A port that waits in the kernel holds the lock of its ring, so nobody else can cancel an operation there.
    ("shutdown::a_shutdown_ends_opens_and_reads_of_a_port", THREAD),
    ("thread_ends::a_close_of_a_pipe_that_a_port_of_another_thread_waits_for", THREAD),
    ("two_engines::the_close_of_a_pipe_ends_reads_of_the_other_s_port", THREAD),
    // The end of a thread cancels what waits for room on its ring.
    ("thread_ends::writes_that_nobody_waits_for_are_performed", THREAD),
    ("wakers::one_that_panics_when_a_port_wakes_it", ALL),
    ("wakers::one_that_panics_when_block_on_wakes_it", ALL),
];

/// What is expected of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Pass,
    Fail,
    Either,
}

/// Looks a scenario up by its name, whose last part is the backend and routing.
pub(crate) fn expected(name: &str) -> Expected {
    let Some((scenario, rig)) = name.rsplit_once("::") else { return Expected::Pass };
    let is_on = |list: &[(&str, Rigs)]| list.iter().any(|(its, rigs)| *its == scenario && rigs.contains(&rig));
    if is_on(EXPECTED_TO_FAIL) {
        Expected::Fail
    } else if is_on(FAILS_AT_TIMES) {
        Expected::Either
    } else {
        Expected::Pass
    }
}
