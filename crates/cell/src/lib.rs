//! The sandbox: namespaces, mounts, seccomp, Landlock, limits.
