"""Knowledge-CLIP (arXiv 2412.03513): what a language model makes of captions, and the concepts they fall into."""
