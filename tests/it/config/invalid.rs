//! One mistake a file, and the diagnostic that it gets.
