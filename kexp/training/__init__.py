"""argmin: engines that take steps, and the loop that measures, records and stops."""
