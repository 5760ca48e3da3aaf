//! A call together with what the kernel says of its caller.
