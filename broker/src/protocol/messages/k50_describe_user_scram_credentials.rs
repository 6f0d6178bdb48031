//! DescribeUserScramCredentials: which users have which mechanisms (KIP-554).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DescribeUserScramCredentialsRequest: 0..=0, flexible 0.. {
        /// Null or empty for all.
        users: Option<Vec<UserName>>;
    }

    UserName {
        name: String;
    }

    DescribeUserScramCredentialsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        results: Vec<DescribeUserScramCredentialsResult>;
    }

    DescribeUserScramCredentialsResult {
        user: String;
        error_code: ErrorCode;
        error_message: Option<String>;
        credential_infos: Vec<CredentialInfo>;
    }

    CredentialInfo {
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8;
        iterations: i32;
    }
}
