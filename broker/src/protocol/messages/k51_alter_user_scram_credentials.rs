//! AlterUserScramCredentials: sets and removes what is kept of passwords (KIP-554).

use bytes::Bytes;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    AlterUserScramCredentialsRequest: 0..=0, flexible 0.. {
        deletions: Vec<ScramCredentialDeletion>;
        upsertions: Vec<ScramCredentialUpsertion>;
    }

    ScramCredentialDeletion {
        name: String;
        mechanism: i8;
    }

    ScramCredentialUpsertion {
        name: String;
        mechanism: i8;
        iterations: i32;
        salt: Bytes;
        /// As good as the password itself.
        salted_password: Bytes;
    }

    AlterUserScramCredentialsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        results: Vec<AlterUserScramCredentialsResult>;
    }

    AlterUserScramCredentialsResult {
        user: String;
        error_code: ErrorCode;
        error_message: Option<String>;
    }
}
