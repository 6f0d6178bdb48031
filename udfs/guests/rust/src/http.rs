//! Requests to servers that the pipeline file grants by name: `grants.http = "api.example.com"`.

/// What is asked of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn get(url: impl Into<String>) -> Request {
        Request { method: "GET".to_owned(), url: url.into(), ..Request::default() }
    }

    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
        let (url, body) = (url.into(), body.into());
        Request { method: "POST".to_owned(), url, body, ..Request::default() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What it answers, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Sends all requests at the same time, 1,000 at most, and waits for all answers, which come in the
/// same order, or why there is none. Redirects are not followed. They take of the function's time:
/// the pipeline file may say `time = "30s"`.
pub fn fetch(requests: &[Request]) -> Vec<Result<Response, String>> {
    imports::fetch(requests)
}

#[cfg(target_family = "wasm")]
mod imports {
    use super::{Request, Response};

    #[repr(C)]
    struct Slice {
        data: *const u8,
        length: usize,
    }

    impl Slice {
        fn of(bytes: &[u8]) -> Slice {
            Slice { data: bytes.as_ptr(), length: bytes.len() }
        }
    }

    #[repr(C)]
    struct Asked {
        method: Slice,
        url: Slice,
        headers: *const [Slice; 2],
        headers_length: usize,
        body: Slice,
    }

    /// `result<response, string>`: which it is; status, headers, body or the text.
    type Answered = [usize; 6];

    #[repr(C)]
    struct Answers {
        data: *mut Answered,
        length: usize,
    }

    #[link(wasm_import_module = "millstream:udf/http@0.1.0")]
    unsafe extern "C" {
        #[link_name = "fetch"]
        fn host_fetch(requests: *const Asked, length: usize, answers: *mut Answers);
    }

    pub fn fetch(requests: &[Request]) -> Vec<Result<Response, String>> {
        let headers: Vec<Vec<[Slice; 2]>> = requests
            .iter()
            .map(|request| {
                let pairs = request.headers.iter();
                pairs
                    .map(|(name, value)| [name, value].map(|of| Slice::of(of.as_bytes())))
                    .collect()
            })
            .collect();
        let asked: Vec<Asked> = requests
            .iter()
            .zip(&headers)
            .map(|(request, headers)| Asked {
                method: Slice::of(request.method.as_bytes()),
                url: Slice::of(request.url.as_bytes()),
                headers: headers.as_ptr(),
                headers_length: headers.len(),
                body: Slice::of(&request.body),
            })
            .collect();
        let mut answers = Answers { data: std::ptr::null_mut(), length: 0 };
        // SAFETY: the host reads the requests, and writes the answers to memory of `cabi_realloc`,
        // which is ours from then on.
        let answers = unsafe {
            host_fetch(asked.as_ptr(), asked.len(), &mut answers);
            Vec::from_raw_parts(answers.data, answers.length, answers.length)
        };
        answers.into_iter().map(answer).collect()
    }

    fn answer(words: Answered) -> Result<Response, String> {
        // The first byte tells, and what follows it is of no meaning.
        if words[0] as u8 != 0 {
            return Err(text(words[1], words[2]));
        }
        // SAFETY: as of the answers.
        let headers =
            unsafe { Vec::from_raw_parts(words[2] as *mut [usize; 4], words[3], words[3]) };
        let headers = headers.into_iter().map(|[name, name_length, value, value_length]| {
            (text(name, name_length), text(value, value_length))
        });
        Ok(Response {
            status: words[1] as u16,
            headers: headers.collect(),
            body: bytes(words[4], words[5]),
        })
    }

    fn bytes(data: usize, length: usize) -> Vec<u8> {
        // SAFETY: as of the answers.
        unsafe { Vec::from_raw_parts(data as *mut u8, length, length) }
    }

    fn text(data: usize, length: usize) -> String {
        // SAFETY: the host gives text alone.
        unsafe { String::from_utf8_unchecked(bytes(data, length)) }
    }
}

#[cfg(not(target_family = "wasm"))]
mod imports {
    use super::{Request, Response};

    pub fn fetch(requests: &[Request]) -> Vec<Result<Response, String>> {
        requests
            .iter()
            .map(|_| Err("requests are sent within Millstream alone".to_owned()))
            .collect()
    }
}
