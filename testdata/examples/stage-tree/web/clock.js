const clock = () => new Date().toISOString();
