//! Files are read and written on threads of their own, since a disk may keep them waiting.

/// Something that does blocking I/O. It moves to a blocking thread for each call and back.
#[derive(Debug)]
pub struct Blocking<T>(Option<T>);

impl<T: Send + 'static> Blocking<T> {
    pub fn new(inner: T) -> Blocking<T> {
        Blocking(Some(inner))
    }

    /// Runs `work` there. The future must not be dropped half-way: what it works on is lost then.
    pub async fn run<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> R {
        let mut inner = self.0.take().expect("an earlier call was run to its end");
        let work = move || {
            let result = work(&mut inner);
            (inner, result)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((inner, result)) => {
                self.0 = Some(inner);
                result
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// For looking at it between calls.
    pub fn get(&self) -> &T {
        self.0.as_ref().expect("an earlier call was run to its end")
    }
}
