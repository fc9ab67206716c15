"""Events as they are told, over HTTP."""
