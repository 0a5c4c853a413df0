//! Runs the tests of a test binary with `harness = false` in its manifest.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{
    runtime::{Handle, Runtime},
    time::timeout,
};

use crate::{ControlPlane, Options, TestNamespace};

/// The default of `--test-threads`. Tests mostly wait for the control plane.
const AT_ONCE: usize = 8;

/// The number of concurrent tests with their own control plane. Some work while the others wait.
const APART_AT_ONCE: usize = 4;

/// The time limit of a test, so that one that hangs is reported by name and with its state.
const TIMEOUT: Duration = Duration::from_secs(180);

type Promise<T> = Pin<Box<dyn Future<Output = Result<T>>>>;
type SetUp<W> = Box<dyn FnOnce(Arc<ControlPlane>) -> Promise<W>>;
type Test<W> = Box<dyn FnOnce(Case<W>) -> Promise<()> + Send>;

/// The arguments of a test.
#[derive(Debug)]
pub struct Case<W> {
    /// The control plane, shared by all tests, or with [`Suite::apart`] and [`Suite::alone`] this test's own.
    pub plane: Arc<ControlPlane>,
    /// Its own namespace.
    pub namespace: TestNamespace,
    /// The result of the set-up, such as outrigger running with the shared control plane.
    pub world: Arc<W>,
}

/// Tests that share one control plane and run in parallel, then tests with their own control plane, and finally those that also need the machine for
/// themselves. Filters and `--list` of `cargo test` work. No control plane starts if no test needs it. When a test fails, the state of its namespace
/// and the logs are printed.
///
/// ```no_run
/// use std::process::ExitCode;
/// use outrigger_testbed::{Case, Parts, Suite};
///
/// async fn pods_are_refused_without_containers(case: Case<()>) -> anyhow::Result<()> {
///     let refused = case.namespace.apply("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: []}}").await;
///     anyhow::ensure!(refused.is_err(), "the Pod was accepted");
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     Suite::new(Parts::Full, async |_plane| Ok(()))
///         .test("pods_are_refused_without_containers", pods_are_refused_without_containers)
///         .run()
/// }
/// ```
pub struct Suite<W> {
    options: Options,
    set_up: SetUp<W>,
    shared: Vec<(String, Test<W>)>,
    apart: Vec<Apart>,
    alone: Vec<Apart>,
}

/// Adds tests by their paths `module::function`, each with its function's name.
///
/// ```no_run
/// # mod walk { pub async fn it_works<W>(_: outrigger_testbed::Case<W>) -> anyhow::Result<()> { Ok(()) } }
/// # mod replicas { pub async fn one_may_die<W>(_: outrigger_testbed::Case<W>) -> anyhow::Result<()> { Ok(()) } }
/// use outrigger_testbed::{Parts, Suite, tests};
///
/// let suite = Suite::new(Parts::Full, async |_plane| Ok(()));
/// let suite = tests!(suite, test: walk::it_works);
/// let suite = tests!(suite, alone(Parts::ApiOnly): replicas::one_may_die);
/// # let _ = suite.run();
/// ```
#[macro_export]
macro_rules! tests {
    ($suite:expr, $add:ident: $($module:ident :: $test:ident),+ $(,)?) => {
        $suite$(.$add(stringify!($test), $module::$test))+
    };
    ($suite:expr, $add:ident($options:expr): $($module:ident :: $test:ident),+ $(,)?) => {
        $suite$(.$add(stringify!($test), $options, $module::$test))+
    };
}

/// A test with its own control plane.
struct Apart {
    name: String,
    options: Options,
    test: Test<()>,
}

impl<W: Send + Sync + 'static> Suite<W> {
    /// Creates a suite whose shared control plane is set up once by `set_up`. Its result is dropped before the control
    /// plane stops.
    pub fn new<F: Future<Output = Result<W>> + 'static>(
        options: impl Into<Options>,
        set_up: impl FnOnce(Arc<ControlPlane>) -> F + 'static,
    ) -> Self {
        Self {
            options: options.into(),
            set_up: Box::new(|plane| Box::pin(set_up(plane))),
            shared: Vec::new(),
            apart: Vec::new(),
            alone: Vec::new(),
        }
    }

    /// Adds a test that shares the control plane. It fails if it panics or returns an error.
    #[must_use]
    pub fn test<F: Future<Output = Result<()>> + 'static>(
        mut self,
        name: &str,
        test: impl FnOnce(Case<W>) -> F + Send + 'static,
    ) -> Self {
        self.shared.push((name.to_owned(), Box::new(|case| Box::pin(test(case)))));
        self
    }

    /// Adds a test with its own control plane.
    #[must_use]
    pub fn apart<F: Future<Output = Result<()>> + 'static>(
        mut self,
        name: &str,
        options: impl Into<Options>,
        test: impl FnOnce(Case<()>) -> F + Send + 'static,
    ) -> Self {
        self.apart.push(Apart::new(name, options, test));
        self
    }

    /// Adds a test with its own control plane and without other tests at the same time, because it causes load or
    /// measures time.
    #[must_use]
    pub fn alone<F: Future<Output = Result<()>> + 'static>(
        mut self,
        name: &str,
        options: impl Into<Options>,
        test: impl FnOnce(Case<()>) -> F + Send + 'static,
    ) -> Self {
        self.alone.push(Apart::new(name, options, test));
        self
    }

    /// Runs the tests that the command line selects, and stops everything that was started.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.run_with(Arguments::from_args()) {
            Ok(false) => ExitCode::SUCCESS,
            Ok(true) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("The tests cannot be run: {error:?}");
                ExitCode::FAILURE
            }
        }
    }

    /// Returns whether a test failed.
    fn run_with(self, mut arguments: Arguments) -> Result<bool> {
        arguments.test_threads.get_or_insert(AT_ONCE);
        let runtime = Runtime::new()?;
        let shared_failed = run_shared(&arguments, &runtime, self.options, self.set_up, self.shared)?;

        let most = arguments.test_threads.unwrap_or(AT_ONCE);
        let mut failed = shared_failed;
        for (tests, at_once) in [(self.apart, APART_AT_ONCE), (self.alone, 1)] {
            arguments.test_threads = Some(at_once.min(most));
            let trials: Vec<_> = tests.into_iter().map(|test| test.trial(runtime.handle())).collect();
            failed |= selects(&arguments, &trials) && libtest_mimic::run(&arguments, trials).has_failed();
        }
        Ok(failed)
    }
}

impl Apart {
    fn new<F: Future<Output = Result<()>> + 'static>(
        name: &str,
        options: impl Into<Options>,
        test: impl FnOnce(Case<()>) -> F + Send + 'static,
    ) -> Self {
        Self { name: name.to_owned(), options: options.into(), test: Box::new(|case| Box::pin(test(case))) }
    }

    fn trial(self, runtime: &Handle) -> Trial {
        let Self { name, options, test } = self;
        let runtime = runtime.clone();
        Trial::test(name.clone(), move || run_apart(&runtime, &name, options, test))
    }
}

/// Runs the tests that share a control plane. Returns whether one failed.
fn run_shared<W: Send + Sync + 'static>(
    arguments: &Arguments,
    runtime: &Runtime,
    options: Options,
    set_up: SetUp<W>,
    tests: Vec<(String, Test<W>)>,
) -> Result<bool> {
    let stage = Arc::new(OnceLock::<(Arc<ControlPlane>, Arc<W>)>::new());
    let trials = tests.into_iter().map(|(name, test)| {
        let (runtime, stage) = (runtime.handle().clone(), Arc::clone(&stage));
        Trial::test(name.clone(), move || {
            let (plane, world) = stage.get().ok_or("the control plane was not started")?;
            run_test(&runtime, &name, plane, Arc::clone(world), test)
        })
    });
    let trials: Vec<_> = trials.collect();

    // Later drops may need the runtime.
    let _context = runtime.enter();
    if selects(arguments, &trials) && !arguments.list {
        let plane = Arc::new(runtime.block_on(ControlPlane::start(options))?);
        let world = match runtime.block_on(set_up(Arc::clone(&plane))) {
            Ok(world) => world,
            Err(error) => {
                eprintln!("{}", runtime.block_on(plane.dump("default")));
                plane.keep_folder();
                return Err(error.context("the set-up of the shared control plane failed"));
            }
        };
        // Nobody else sets it.
        let _ = stage.set((plane, Arc::new(world)));
    }
    let failed = libtest_mimic::run(arguments, trials).has_failed();
    if let Some((plane, world)) = Arc::into_inner(stage).and_then(OnceLock::into_inner) {
        drop(world);
        if failed {
            plane.keep_folder();
        }
        runtime.block_on(plane.stop());
    }
    Ok(failed)
}

/// Runs a test with its own control plane.
fn run_apart(runtime: &Handle, name: &str, options: Options, test: Test<()>) -> Result<(), Failed> {
    let _context = runtime.enter();
    let plane = Arc::new(runtime.block_on(ControlPlane::start(options)).map_err(|error| format!("{error:?}"))?);
    let result = run_test(runtime, name, &plane, Arc::new(()), test);
    if result.is_err() {
        plane.keep_folder();
    }
    runtime.block_on(plane.stop());
    result
}

/// Runs a test in its own namespace. A failure includes its state.
fn run_test<W>(
    runtime: &Handle,
    name: &str,
    plane: &Arc<ControlPlane>,
    world: Arc<W>,
    test: Test<W>,
) -> Result<(), Failed> {
    let namespace = runtime.block_on(plane.namespace(name)).map_err(|error| format!("{error:?}"))?;
    let case = Case { plane: Arc::clone(plane), namespace: namespace.clone(), world };
    let bounded = async { timeout(TIMEOUT, test(case)).await.map_err(|_| anyhow!("the test hung for {TIMEOUT:?}"))? };
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(bounded)));
    let message = match result {
        Ok(Ok(())) => {
            // A namespace that remains does no harm.
            let _ = runtime.block_on(namespace.delete());
            return Ok(());
        }
        Ok(Err(error)) => format!("{error:?}"),
        Err(panic) => panic_message(panic.as_ref()).to_owned(),
    };
    let dump = runtime.block_on(plane.dump(namespace.name()));
    Err(format!("{message}\n\n{dump}").into())
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("the test panicked")
}

/// Whether the command line selects any of these tests, to run or to list.
fn selects(arguments: &Arguments, trials: &[Trial]) -> bool {
    trials.iter().any(|trial| !arguments.is_filtered_out(trial) && !arguments.is_ignored(trial))
}
