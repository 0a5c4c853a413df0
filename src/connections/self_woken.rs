//! A future that is polled again at once when it woke itself.
//!
//! hyper's connection wakes its own task for each request with a body, because the body and its reader exchange messages.
//! tokio then queues the task and wakes a second thread to look for it: system calls, and often a move to another
//! processor, for a task that has nothing more to do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use pin_project_lite::pin_project;

pin_project! {
    /// The future.
    pub(super) struct SelfWoken<F> {
        #[pin]
        future: F,
        wakes: Arc<Wakes>,
        waker: Waker,
    }
}

/// The wakes of a future, which reach its task unless the future is being polled.
struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

/// The future waits for a wake.
const WAITS: u8 = 0;
/// The future is being polled.
const POLLED: u8 = 1;
/// It was woken since its poll began.
const WOKEN: u8 = 2;

/// How often a future is polled in a row. After that, other tasks have their turn.
const POLLS: usize = 3;

impl<F> SelfWoken<F> {
    pub fn new(future: F) -> Self {
        let wakes = Arc::new(Wakes { state: AtomicU8::new(WAITS), task: AtomicWaker::new() });
        Self { future, waker: wakes.clone().into(), wakes }
    }
}

impl<F: Future> Future for SelfWoken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.wakes.task.register(context.waker());
        for _ in 0..POLLS {
            this.wakes.state.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(output) = this.future.as_mut().poll(&mut Context::from_waker(this.waker)) {
                return Poll::Ready(output);
            }
            let unwoken = this.wakes.state.compare_exchange(POLLED, WAITS, Ordering::AcqRel, Ordering::Acquire);
            if unwoken.is_ok() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITS {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    /// A task that counts its wakes.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls a future once that wakes itself in its first polls. Returns how often it was polled, and its task woken.
    fn polled(wakes_itself: usize) -> (usize, usize) {
        let task = Arc::<Task>::default();
        let polls = Cell::new(0);
        let mut future = pin!(SelfWoken::new(poll_fn(|context| {
            polls.update(|polls| polls + 1);
            if polls.get() <= wakes_itself {
                context.waker().wake_by_ref();
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })));
        assert!(future.as_mut().poll(&mut Context::from_waker(&task.clone().into())).is_pending());
        (polls.get(), task.0.load(Ordering::SeqCst))
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_without_its_task() {
        assert_eq!(polled(0), (1, 0));
        assert_eq!(polled(1), (2, 0));
    }

    #[test]
    fn a_future_that_always_wakes_itself_lets_others_have_their_turn() {
        assert_eq!(polled(usize::MAX), (POLLS, 1));
    }

    #[test]
    fn a_wake_from_elsewhere_wakes_the_task_once() {
        let task = Arc::<Task>::default();
        let kept = RefCell::new(None);
        let mut future = pin!(SelfWoken::new(poll_fn(|context| {
            kept.replace(Some(context.waker().clone()));
            Poll::<()>::Pending
        })));
        for round in 1..=3 {
            assert!(future.as_mut().poll(&mut Context::from_waker(&task.clone().into())).is_pending());
            let waker = kept.take().unwrap();
            waker.wake_by_ref();
            waker.wake();
            assert_eq!(task.0.load(Ordering::SeqCst), round);
        }
    }
}
