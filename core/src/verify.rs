//! What an auditor can prove from bytes.
