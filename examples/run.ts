/** @file How the examples run: wrong usage is told with the usage and ends with 2, every other failure with 1. */

export async function runExample(main: (args: readonly string[]) => Promise<void>, usage: string): Promise<void> {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    const { code = "", message } = error as { code?: string; message: string };
    const isUsage = code.startsWith("ERR_PARSE_ARGS") || code === "BAD_ARGUMENT";
    console.error(isUsage ? `${message}\n\n${usage}` : error);
    process.exitCode = isUsage ? 2 : 1;
  }
}
