//! From a plan to an image.
