/** Ids of data servers: given in order from 1, and never again. */

/** Counter with the largest id that was ever given: one up to it that has no row is that of a removed server. */
export const SERVER_COUNTER = "server";
